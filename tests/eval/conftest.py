"""A tiny grounding benchmark and predictors that need no model."""

import json

import numpy as np
import pytest
from PIL import Image

from eval import benchmarks, run_benchmark
from eval.generation import predict
from eval.metrics import meteor
from rsunivlm.codecs import BoxCodec, MaskCodec
from rsunivlm.data.records import read_records
from rsunivlm.inference.answer import Answer
from rsunivlm.tasks import Task, route

SIZE = (96, 64)


class FakePredictor:
    """Answers by a function of the prompt, through the real router and codec."""

    def __init__(self, text_of):
        self.text_of = text_of
        self.tasks = tuple(Task)
        self.box_codec, self.mask_codec = BoxCodec(), MaskCodec(8)
        self.requests = []
        self.batches = []

    def describe(self):
        return {"id": "fake"}

    def text(self, request):
        return self.text_of(request.prompt)

    def answer_batch(self, requests, *, batch_size, max_new_tokens):
        self.requests += requests
        self.batches.append(len(requests))
        answers = []
        for request in requests:
            text = self.text(request)
            chosen = route(request.prompt, num_images=len(request.images), task=request.task)
            size = request.images[-1].size
            boxes = mask = report = None
            labels = ()
            if chosen.task.answer_kind == "boxes":
                boxes, report = self.box_codec.decode(text, size)
            elif chosen.task.answer_kind == "mask":
                labels = (self.mask_codec.background, *request.labels)
                mask, report = self.mask_codec.decode(text, labels, size)
            answers.append(Answer(text, chosen, boxes_px=boxes, mask=mask, labels=labels, report=report))
        return answers


def vg_record(number, box, image="images/0.png", size=SIZE, prompt=None):
    return {
        "id": f"q{number}",
        "image": image,
        "task": "vg",
        "conversations": [
            {"from": "human", "value": f"<image>\n{prompt or f'[VG] the thing number {number}'}"},
            {"from": "gpt", "value": "[1, 2, 3, 4]"},
        ],
        "targets": {"boxes_px": [box], "image_size": list(size)},
    }


@pytest.fixture
def make_record():
    return vg_record


@pytest.fixture
def fake_predictor():
    return FakePredictor


@pytest.fixture
def tiny(tmp_path):
    """A record file with 14 questions about 7 images of 96 x 64 pixels; boxes far from any diagonal."""
    folder = tmp_path / "tiny"
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    records = []
    for image in range(7):
        Image.new("RGB", SIZE, (120, 120, 120)).save(folder / f"images/{image}.png")
        for k in range(2):
            x1, y1 = rng.uniform(40, 60), rng.uniform(2, 20)
            box = [x1, y1, x1 + rng.uniform(15, 35), y1 + rng.uniform(8, 20)]
            records.append(vg_record(2 * image + k, box, f"images/{image}.png"))
    path = folder / "vg.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture
def text_questions(tmp_path):
    """Make the questions of a text task from targets; the prompt ends in the number of the question."""

    def make(module, task, targets, per_image=1):
        folder = tmp_path / f"{task}{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        task = Task(task)
        records = []
        for number, target in enumerate(targets):
            names = [f"{number // per_image}{side}.png" for side in "ab"[: task.num_images]]
            for name in names:
                Image.new("RGB", (8, 8)).save(folder / name)
            question = f"{'<image>' * task.num_images}\n{task.token} {number}"
            turns = [{"from": "human", "value": question}, {"from": "gpt", "value": "-"}]
            records.append(
                {"id": f"q{number}", "image": names, "task": task, "conversations": turns, "targets": target}
            )
        path = folder / f"{task}.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return benchmarks.load(str(path), task, module, None, None)

    return make


@pytest.fixture
def ask_text(text_questions, tmp_path):
    """Ask the questions of a text task; `answers` has the answer to each. Gives the predictions."""

    def ask(module, task, targets, answers, per_image=1):
        questions = text_questions(module, task, targets, per_image)
        predictor = FakePredictor(lambda prompt: answers[int(prompt.split()[-1])])
        journals = tmp_path / f"journals{len(list(tmp_path.iterdir()))}"
        return predict(predictor, questions, module, range(len(targets)), journals)[0]

    return ask


@pytest.fixture
def no_java(monkeypatch):
    """A machine without Java: scores then need no second program, and METEOR is absent."""
    monkeypatch.setattr(meteor, "java", lambda: None)


@pytest.fixture
def oracle(tiny):
    """A predictor that knows every answer of `tiny` and says it in the codec's notation."""
    codec = BoxCodec()
    known = {
        record.turns[0].prompt: codec.encode(record.targets["boxes_px"], SIZE)
        for record in read_records(tiny)
    }
    return FakePredictor(known.__getitem__)


MASK_VALUES = {"building": 1, "low vegetation": 2}
UNLABELLED = 9


class MaskOracle(FakePredictor):
    """Knows every mask of `scenes`, since their pictures show the label values, and says it by the codec.

    `spoil` changes the true class map (0, 1, 2 for unlabelled) before it is written, `say` the text of it.
    """

    def __init__(self, spoil=lambda ids: ids, say=lambda text, prompt: text):
        super().__init__(None)
        self.spoil, self.say = spoil, say

    def text(self, request):
        values = np.asarray(request.images[-1])[..., 0] // 20
        if request.prompt.startswith("[CCD]"):
            return "houses appear ." if (values == 1).any() else " The scene is the same as before ."
        label = next(label for label in MASK_VALUES if label in request.prompt)
        ids = np.where(values == UNLABELLED, 2, values == MASK_VALUES[label])
        ids = self.spoil(ids.astype(np.uint8))
        text = self.mask_codec.encode(ids, [self.mask_codec.background, label], ignore_index=2)
        return self.say(text, request.prompt)


@pytest.fixture
def mask_oracle():
    return MaskOracle


@pytest.fixture
def scenes(tmp_path):
    """Records of ten 90 x 60 scenes, ``ss.jsonl`` with two classes each and ``cd.jsonl`` with pairs.

    Each scene has a building near the upper left corner, vegetation in a band to the right and a few
    unlabelled columns; two of them have no building. Nothing lies symmetrically.
    """
    folder = tmp_path / "scenes"
    folder.mkdir()
    rng = np.random.default_rng(3)
    tasks = {"ss": [], "cd": []}
    for number in range(10):
        values = np.zeros((60, 90), np.uint8)
        if number not in (4, 7):
            top, left = rng.integers(6, 10), rng.integers(10, 16)
            values[top : top + 22, left : left + 33] = 1
        values[:, 64 + rng.integers(0, 4) : 80] = 2
        values[:, 86:] = UNLABELLED
        Image.fromarray(values).save(folder / f"mask{number}.png")
        Image.fromarray(np.repeat(20 * values[..., None], 3, axis=2)).save(folder / f"{number}.png")
        Image.new("RGB", (90, 60)).save(folder / f"before{number}.png")
        for task, label, images in (
            *(("ss", label, f"{number}.png") for label in MASK_VALUES),
            ("cd", "building", [f"before{number}.png", f"{number}.png"]),
        ):
            marks = "<image>" if task == "ss" else "<image><image>"
            target = {"mask": f"mask{number}.png", "labels": ["others", label], "value": MASK_VALUES[label]}
            turns = [
                {"from": "human", "value": f"{marks}\n[SEG] Please segment the {label} in scene {number}."},
                {"from": "gpt", "value": "others*8"},
            ]
            tasks[task].append(
                {
                    "id": f"{task}-{number}-{label}",
                    "image": images,
                    "task": task,
                    "conversations": turns,
                    "targets": target | {"ignore": [UNLABELLED]},
                }
            )
    for task, records in tasks.items():
        (folder / f"{task}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


@pytest.fixture
def ask(scenes, tmp_path):
    """Ask a predictor all questions of one task of `scenes`; gives the predictions."""

    def start(predictor, module, task, path=None):
        questions = benchmarks.load(str(path or scenes / f"{task}.jsonl"), Task(task), module, None, None)
        journals = tmp_path / f"journals{len(list(tmp_path.iterdir()))}"
        chosen = range(len(questions.records))
        return predict(predictor, questions, module, chosen, journals, batch_size=4)[0]

    return start


@pytest.fixture
def run_tiny(monkeypatch, capsys, tiny):
    """Run the benchmark `tiny` with a predictor into a folder; returns the folder."""

    def run(predictor, out, *argv):
        monkeypatch.setattr(run_benchmark, "load_answerer", lambda *names: predictor)
        start = ("--task", "vg", "--benchmark", tiny, "--out", out, *argv)
        assert run_benchmark.main([str(item) for item in start]) == 0
        capsys.readouterr()
        return out

    return run
