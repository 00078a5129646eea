"""The plug-in for lmms-eval: its files load, and its scores are those of `eval.scoring`."""

import importlib
import json
import math
from pathlib import Path

import pytest
import yaml

from eval import benchmarks
from eval.generation import predict
from eval.lmms import utils
from eval.scoring import score
from eval.tasks import TASK_MODULES, protocol_of, task_module
from rsunivlm.codecs import MaskCodec
from rsunivlm.tasks import Task

FOLDER = Path(utils.__file__).parent
SOME = 12


class Loader(yaml.SafeLoader):
    """Reads ``!function a.b.c`` as lmms-eval does where no file a.b.py lies beside: the function c of a.b."""


def _function(loader, node):
    module, _, name = loader.construct_scalar(node).rpartition(".")
    return getattr(importlib.import_module(module), name)


Loader.add_constructor("!function", _function)


def task_file(task):
    content = yaml.load((FOLDER / f"rsunivlm_{task}.yaml").read_text(), Loader)
    shared = yaml.load((FOLDER / content.pop("include")).read_text(), Loader)
    assert not set(shared) & set(content)
    return shared | content


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Nothing remembered from earlier tests, nothing said by the environment, METEOR absent (it is slow)."""
    for name in ("BENCHMARK", "DATA", "SPLIT", "COORDINATES", "PROMPT_STYLE", "PROTOCOL"):
        monkeypatch.delenv(f"RSUNIVLM_{name}", raising=False)
    utils._questions.cache_clear()
    utils._scores.cache_clear()


@pytest.fixture
def docs_of():
    datasets = pytest.importorskip("datasets", reason="needs the train extra")

    def make(task):
        return task_file(task)["process_docs"](datasets.Dataset.from_dict({"text": []}))

    return make


@pytest.mark.parametrize("task", list(Task))
def test_task_files(task):
    content = task_file(task)
    assert content["task"] == f"rsunivlm_{task}"
    assert [entry["metric"] for entry in content["metric_list"]] == [*utils.METRICS[task], utils.UNPARSABLE]
    for entry in content["metric_list"]:
        assert entry["aggregation"] is utils.aggregate
        assert entry["higher_is_better"] is (entry["metric"] != utils.UNPARSABLE)
    [name] = content["dataset_kwargs"]["data_files"].values()
    assert (FOLDER / name).resolve() == benchmarks.BENCHMARKS["mini"].default_data / f"{task}.jsonl"
    assert content["process_docs"].args == (task,)

    class Asked:
        mask_codec = MaskCodec()

    settings = content["generation_kwargs"]
    assert settings["max_new_tokens"] == task_module(task)[1].max_new_tokens(Asked)
    assert settings["do_sample"] is False


def test_the_group_has_every_task():
    content = yaml.safe_load((FOLDER / "rsunivlm.yaml").read_text())
    assert content["group"] == "rsunivlm"
    assert content["task"] == [f"rsunivlm_{task}" for task in TASK_MODULES]


@pytest.mark.parametrize("task", list(Task))
def test_scores_are_those_of_our_own_scoring(task, docs_of, fake_predictor, no_java, tmp_path):
    _, module = task_module(task)
    docs = list(docs_of(task))[:SOME]
    answers = [utils.doc_to_target(doc) for doc in docs]
    answers[::3] = ["yes, a beach"] * len(answers[::3])
    items = [utils.process_results(doc, [answer]) for doc, answer in zip(docs, answers, strict=True)]
    assert len(json.dumps(items)) < 100_000  # they go between processes and into logs

    questions = benchmarks.load(None, task, module, None, None)
    told = iter(answers)
    predictor = fake_predictor(lambda prompt: next(told))
    predictor.mask_codec = MaskCodec()
    rows = predict(predictor, questions, module, range(SOME), tmp_path / "journals").predictions
    results = score(module, rows, protocol_of(module, "strict", {}))
    for metric in utils.METRICS[task]:
        got = utils.aggregate([item[metric] for item in reversed(items)])  # in any order
        wanted = results["metrics"][metric]["value"]
        assert math.isnan(got) if wanted is None else got == wanted, metric
    unparsable = utils.aggregate([item[utils.UNPARSABLE] for item in items])
    assert unparsable == results["unparsable"] / SOME
    assert any(value["value"] for value in results["metrics"].values())


def test_questions_come_from_the_environment(docs_of, tiny, monkeypatch):
    monkeypatch.setenv("RSUNIVLM_BENCHMARK", str(tiny))
    monkeypatch.setenv("RSUNIVLM_COORDINATES", "unit1000")
    docs = docs_of(Task.VG)
    assert len(docs) == 14
    assert [image.size for image in utils.doc_to_visual(docs[0])] == [(96, 64)]
    assert utils.doc_to_text(docs[0]) == (
        "Give the bounding box of: the thing number 0 as [x1, y1, x2, y2], with coordinates from 0 to 1000. "
        "Only output the box."
    )
    x1, y1, x2, y2 = json.loads(docs[0]["record"])["targets"]["boxes_px"][0]
    text = str([round(x1 / 0.096), round(y1 / 0.064), round(x2 / 0.096), round(y2 / 0.064)])
    item = utils.process_results(docs[0], [text])["mean_iou"]
    assert utils.aggregate([item]) > 0.9
    monkeypatch.setenv("RSUNIVLM_COORDINATES", "pixels")
    utils._scores.cache_clear()
    assert utils.aggregate([item]) < 0.1
    monkeypatch.setenv("RSUNIVLM_PROMPT_STYLE", "token")
    assert utils.doc_to_text(docs[0]) == "[VG] the thing number 0"


def test_pairs_and_boxes_in_prompts(docs_of, monkeypatch):
    pair = docs_of(Task.CC)[0]
    assert len(utils.doc_to_visual(pair)) == 2
    monkeypatch.setenv("RSUNIVLM_COORDINATES", "pixels")
    region = docs_of(Task.REG)[0]
    box = [round(value) for value in json.loads(region["record"])["targets"]["box_px"]]
    assert str(box) in utils.doc_to_text(region)
    assert "in pixels of the image" in utils.doc_to_text(region)


def test_wrong_settings_are_named(docs_of, tiny, monkeypatch):
    monkeypatch.setenv("RSUNIVLM_BENCHMARK", str(tiny))
    doc = docs_of(Task.VG)[0]
    item = utils.process_results(doc, ["[1, 2, 3, 4]"])["acc@0.5"]
    monkeypatch.setenv("RSUNIVLM_PROTOCOL", "lenient")
    with pytest.raises(ValueError, match="RSUNIVLM_PROTOCOL must be one of strict, paper, got 'lenient'"):
        utils.aggregate([item])
    monkeypatch.setenv("RSUNIVLM_COORDINATES", "inches")
    with pytest.raises(ValueError, match="unknown coordinates 'inches'"):
        utils.doc_to_text(doc)
    monkeypatch.setenv("RSUNIVLM_BENCHMARK", "nope")
    utils._questions.cache_clear()
    with pytest.raises(ValueError, match="unknown benchmark 'nope'"):
        docs_of(Task.VG)


def test_lmms_eval_itself_loads_and_scores_the_tasks(monkeypatch, tmp_path):
    tasks = pytest.importorskip("lmms_eval.tasks", reason="lmms-eval is not installed")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    manager = tasks.TaskManager(include_path=str(FOLDER), include_defaults=False)
    [loaded] = tasks.get_task_dict(["rsunivlm"], manager, task_type="chat").values()
    assert set(loaded) == {f"rsunivlm_{task}" for task in Task}
    grounding = loaded["rsunivlm_vg"]
    docs = list(grounding.task_docs)
    items = [grounding.process_results(doc, [grounding.doc_to_target(doc)]) for doc in docs]
    assert grounding.aggregation()["acc@0.5"]([item["acc@0.5"] for item in items]) == 1
    assert [part["type"] for part in grounding.doc_to_messages(docs[0])[0]["content"]] == ["image", "text"]
