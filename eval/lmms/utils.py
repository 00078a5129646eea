"""The functions behind the task files of this folder, by which lmms-eval asks and scores our tasks.

    export RSUNIVLM_BENCHMARK=dior_rsvg RSUNIVLM_DATA=/data/DIOR_RSVG RSUNIVLM_COORDINATES=unit1000
    lmms_eval --include_path eval/lmms --tasks rsunivlm_vg --model ... --model_args ...

Whoever has a model running in lmms-eval gets the scores of `eval/run_benchmark.py` for it: questions come
from the same converters, answers are read by the same codecs and scored by the same task modules. lmms-eval
gives a task no way to name its data on the command line, so environment variables do:

    RSUNIVLM_BENCHMARK     a benchmark of `eval.benchmarks`, or a .jsonl record file (default: the bundled)
    RSUNIVLM_DATA          its folder, as --data of run_benchmark.py
    RSUNIVLM_SPLIT         its split, as --split
    RSUNIVLM_COORDINATES   how the model writes boxes, see `eval.models.coordinates` (default: unit100)
    RSUNIVLM_PROMPT_STYLE  plain (default), token, or a .yaml file, see `eval.prompts`
    RSUNIVLM_PROTOCOL      strict (default) or paper

The task files name these functions by their full module path: lmms-eval then imports this module once, and
not once for each function, so that questions are read once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from data_tools.files import image_size
from eval import benchmarks
from eval.models.coordinates import codec_of
from eval.options import PROTOCOLS
from eval.predictions import Prediction
from eval.prompts import PLAIN, PromptStyle, box_respelled
from eval.scoring import score
from eval.tasks import protocol_of, task_module
from rsunivlm.codecs import BoxCodec, MaskCodec
from rsunivlm.data.records import Record, resolve_image
from rsunivlm.images import open_image
from rsunivlm.inference.answer import read_answer
from rsunivlm.tasks import Task, route

if TYPE_CHECKING:  # comes with the `train` extra, and with lmms-eval
    import datasets

UNPARSABLE = "unparsable"
_CAPTIONS = ("cider", "bleu_1", "bleu_2", "bleu_3", "bleu_4", "meteor", "rouge_l")
METRICS: Mapping[Task, tuple[str, ...]] = {
    Task.SC: ("accuracy", "balanced_accuracy"),
    Task.VQA: ("macro_accuracy", "micro_accuracy"),
    Task.CAP: _CAPTIONS,
    Task.VG: ("acc@0.5", "acc@0.7", "mean_iou"),
    Task.REG: ("rouge_1", "rouge_l", "meteor", "bleu_1", "bleu_4", "cider"),
    Task.SS: ("mIoU", "mF1", "OA"),
    Task.CC: _CAPTIONS,
    Task.CD: ("F1", "precision", "recall", "IoU", "OA"),
}
_MASKS = MaskCodec()


def _docs(task: Task, dataset: datasets.Dataset) -> datasets.Dataset:
    """The questions of a task; takes the place of the dataset that the task file names."""
    records = [json.dumps(record.to_json()) for record in _questions(task).records]
    return type(dataset).from_dict({"record": records})


docs_sc = partial(_docs, Task.SC)
docs_vqa = partial(_docs, Task.VQA)
docs_cap = partial(_docs, Task.CAP)
docs_vg = partial(_docs, Task.VG)
docs_reg = partial(_docs, Task.REG)
docs_ss = partial(_docs, Task.SS)
docs_cc = partial(_docs, Task.CC)
docs_cd = partial(_docs, Task.CD)


def doc_to_visual(doc: Mapping[str, str]) -> list[Image.Image]:
    """The image, or both of a pair."""
    record = _record(doc)
    root = _questions(record.task).root
    return [open_image(resolve_image(root, image)) for image in record.images]


def doc_to_text(doc: Mapping[str, str]) -> str:
    """The question in words."""
    record = _record(doc)
    codec, boxes = _codec()
    style = PromptStyle.named(os.environ.get("RSUNIVLM_PROMPT_STYLE", PLAIN))
    return style.prompt(box_respelled(record, codec), record.task, _labels(record), boxes, _MASKS)


def doc_to_target(doc: Mapping[str, str]) -> str:
    """The true answer as text; for people who read the log of samples."""
    return _record(doc).turns[0].answer


def process_results(doc: Mapping[str, str], results: Sequence[str]) -> dict[str, dict[str, str]]:
    """What the aggregation needs of one question, once per metric."""
    record = _record(doc)
    common = {"task": record.task.value, "id": record.id, "answer": results[0]}
    return {metric: {"metric": metric, **common} for metric in (*METRICS[record.task], UNPARSABLE)}


def aggregate(items: Sequence[Mapping[str, str]]) -> float:
    """The score of all questions by the metric that the items name; NaN where it is undefined."""
    answers = tuple(sorted((item["id"], item["answer"]) for item in items))
    return _scores(Task(items[0]["task"]), answers)[items[0]["metric"]]


@lru_cache(maxsize=len(Task))
def _scores(task: Task, answers: tuple[tuple[str, str], ...]) -> dict[str, float]:
    _, module = task_module(task)
    questions, texts = _questions(task), dict(answers)
    predictions = [
        _prediction(questions, record, texts[record.id]) for record in questions.records if record.id in texts
    ]
    name = os.environ.get("RSUNIVLM_PROTOCOL", PROTOCOLS[0])
    if name not in PROTOCOLS:
        raise ValueError(f"RSUNIVLM_PROTOCOL must be one of {', '.join(PROTOCOLS)}, got {name!r}")
    results = score(module, predictions, protocol_of(module, name, {}))
    values = {metric: results["metrics"][metric]["value"] for metric in METRICS[task]}
    values[UNPARSABLE] = results["unparsable"] / results["n"]
    return {metric: float("nan") if value is None else value for metric, value in values.items()}


def _prediction(questions: benchmarks.Questions, record: Record, text: str) -> Prediction:
    _, module = task_module(record.task)
    sizes = [image_size(resolve_image(questions.root, image)) for image in record.images]
    prompt = record.turns[0].prompt
    answer = read_answer(
        text,
        route(prompt, num_images=len(record.images), task=record.task),
        sizes[-1],
        box_codec=_codec()[0],
        mask_codec=_MASKS,
        labels=_labels(record),
    )
    return Prediction(
        id=record.id,
        benchmark=questions.benchmark,
        split=questions.split,
        task=record.task.value,
        images=record.images,
        image_size=sizes[0],
        prompt=prompt,
        answer=text,
        parsed=module.parsed(answer),
        truth=module.truth(record, questions.root),
        yardsticks={},
        report={},
        route={},
        decoder={},
        model={},
    )


@lru_cache(maxsize=len(Task))
def _questions(task: Task) -> benchmarks.Questions:
    given = os.environ.get
    data = Path(folder) if (folder := given("RSUNIVLM_DATA")) else None
    _, module = task_module(task)
    crops = Path("results/crops")
    return benchmarks.load(given("RSUNIVLM_BENCHMARK"), task, module, data, given("RSUNIVLM_SPLIT"), crops)


def _codec() -> tuple[BoxCodec, str]:
    return codec_of(os.environ.get("RSUNIVLM_COORDINATES", "unit100"))


def _record(doc: Mapping[str, str]) -> Record:
    return Record.from_json(json.loads(doc["record"]))


def _labels(record: Record) -> list[str] | None:
    if record.task.answer_kind != "mask" or not isinstance(record.targets, dict):
        return None
    return record.targets["labels"][1:]
