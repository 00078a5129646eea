"""A tiny grounding benchmark and predictors that need no model."""

import json

import numpy as np
import pytest
from PIL import Image

from rsunivlm.codecs import BoxCodec, MaskCodec
from rsunivlm.data.records import read_records
from rsunivlm.inference.answer import Answer
from rsunivlm.tasks import route

SIZE = (96, 64)


class FakePredictor:
    """Answers by a function of the prompt, through the real router and codec."""

    def __init__(self, text_of):
        self.text_of = text_of
        self.box_codec, self.mask_codec = BoxCodec(), MaskCodec(8)
        self.requests = []
        self.batches = []

    def describe(self):
        return {"id": "fake"}

    def answer_batch(self, requests, *, batch_size, max_new_tokens):
        self.requests += requests
        self.batches.append(len(requests))
        answers = []
        for request in requests:
            text = self.text_of(request.prompt)
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
def oracle(tiny):
    """A predictor that knows every answer of `tiny` and says it in the codec's notation."""
    codec = BoxCodec()
    known = {
        record.turns[0].prompt: codec.encode(record.targets["boxes_px"], SIZE)
        for record in read_records(tiny)
    }
    return FakePredictor(known.__getitem__)
