"""Typed endpoints: words of the task in, typed answers out, by JSON and by form."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from messages import data_url, png
from pycocotools import mask as coco

from rsunivlm.tasks import TEMPLATES, Task


def bare(file: bytes) -> str:
    return base64.b64encode(file).decode()


@pytest.mark.parametrize(
    ("task", "words", "prompt"),
    [
        ("sc", {"classes": ["port", "beach"]}, TEMPLATES[Task.SC][0].format(classes="port, beach")),
        ("vqa", {"question": "Is there a ship?"}, "[VQA] Is there a ship?"),
        ("cap", {}, TEMPLATES[Task.CAP][0]),
        ("vg", {"expression": "the ship"}, "[VG] the ship"),
        # 48 x 40 pixels on the scale 0..100
        ("reg", {"box": [12, 10, 24, 40]}, "[REF] what is [25, 25, 50, 100]?"),
        ("ss", {"label": "road"}, TEMPLATES[Task.SS][0].format(label="road")),
        ("cc", {}, TEMPLATES[Task.CC][0]),
        ("cd", {"label": "road"}, TEMPLATES[Task.CD][0].format(label="road")),
        ("vg", {"prompt": "the ship"}, "[VG] the ship"),
        ("auto", {"prompt": "Where is the ship?"}, "Where is the ship?"),
    ],
)
def test_json_and_form_equal_the_predictors_answer(start, predictor, task, words, prompt) -> None:
    files = [png(1), png(2)] if task in ("cc", "cd") else [png(1)]
    labels = ["road"] if "label" in words else None
    name = None if task == "auto" else task
    alone = predictor.ask(files, prompt, task=name, labels=labels, max_new_tokens=20)
    server = start()
    words = {**words, "max_new_tokens": 20}
    sent = server.post(f"/v1/rs/{task}", json={"images": [bare(file) for file in files], **words})
    answer = sent.json()
    assert sent.status_code == 200, answer
    assert {key: answer[key] for key in alone.to_json()} == alone.to_json()
    assert ("report" in answer) == (alone.report is not None)
    assert answer["usage"]["completion_tokens"] > 0
    form = server.post(f"/v1/rs/{task}", files=[("image", file) for file in files], data=words)
    assert form.json() == answer


def test_a_mask_comes_as_run_lengths_or_png(start, predictor) -> None:
    answer = predictor.ask(png(), "[SEG] road", labels=["road"])
    server = start()
    body = {"image": data_url(png()), "label": "road"}
    sent = server.post("/v1/rs/ss", json={**body, "prompt": "road", "label": None, "labels": ["road"]}).json()
    assert sent["labels"] == ["others", "road"]
    assert sent["mask_size"] == [48, 40]
    assert sent["report"]["rows_repaired"] == 0
    assert 0 < answer.mask.mean() < 1
    runs = sent["mask"]["labels"]["road"]
    np.testing.assert_array_equal(coco.decode(coco.frPyObjects(runs, 40, 48)), answer.mask)
    png_answer = server.post("/v1/rs/ss", json={**body, "mask_format": "png"}).json()
    assert png_answer["mask"]["url"].startswith("data:image/png;base64,")
    assert "mask" not in server.post("/v1/rs/ss", json={**body, "mask_format": "none"}).json()


IMAGE = {"image": data_url(png())}


@pytest.mark.parametrize(
    ("task", "body", "status", "code", "words"),
    [
        ("dance", {**IMAGE}, 404, "unknown_task", "known tasks: sc, vqa"),
        ("vg", {**IMAGE}, 400, "missing_value", "needs a `prompt` or `expression`"),
        ("auto", {**IMAGE}, 400, "missing_value", "needs a `prompt`"),
        ("vg", {**IMAGE, "label": "ship"}, 400, "invalid_value", "takes no `label`; it takes `expression`"),
        ("vg", {**IMAGE, "prompt": "x", "expression": "x"}, 400, "invalid_value", "not both"),
        ("cap", {**IMAGE, "lable": "x"}, 400, "invalid_value", "lable"),
        ("cap", {}, 400, "wrong_image_count", "give one image"),
        ("cap", {"images": [data_url(png())] * 3}, 400, "invalid_value", "images"),
        ("cap", {**IMAGE, "images": [data_url(png())]}, 400, "invalid_value", "not both"),
        ("cd", {**IMAGE, "label": "x"}, 400, "invalid_request", "looks at 2 image"),
        ("reg", {**IMAGE, "box": [1, 2, 3]}, 400, "invalid_value", "box"),
        ("reg", {**IMAGE, "box": [60, 2, 70, 9]}, 400, "invalid_value", "no area inside the image"),
        ("cap", {"image": "http://x.org/a.png"}, 400, "remote_url_refused", "not fetched"),
    ],
)
def test_refusals(start, held, task, body, status, code, words) -> None:
    answer = start(held).post(f"/v1/rs/{task}", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert words in error["message"]
    assert not held.futures


def test_broken_forms_are_refused(start, held) -> None:
    server = start(held)
    for content, kind, words in (
        (b"nothing", "multipart/form-data", "no boundary"),
        (b"nothing", "multipart/form-data; boundary=x", "not a readable form"),
    ):
        error = server.post("/v1/rs/cap", content=content, headers={"content-type": kind}).json()["error"]
        assert error["code"] == "invalid_form"
        assert words in error["message"]
    error = server.post("/v1/rs/cap", files=[("image", png())] * 3).json()["error"]
    assert error["code"] == "invalid_form"
    assert "not known" in server.post("/v1/rs/cap", files=[("picture", png())]).json()["error"]["message"]
