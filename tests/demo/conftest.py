"""A predictor that gives the answer it was told to, and files to ask about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rsunivlm.codecs import BoxCodec
from rsunivlm.inference.answer import Answer, Request
from rsunivlm.tasks import Task, route


class FakePredictor:
    """Keeps the requests; answers with `boxes_px`, with a mask of the lower half, or with words."""

    tasks = tuple(Task)
    box_codec = BoxCodec()

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def answer_batch(self, requests: Sequence[Request]) -> list[Answer]:
        self.requests += requests
        return [self.answer(request) for request in requests]

    def answer(self, request: Request) -> Answer:
        chosen = route(request.prompt, num_images=len(request.images), task=request.task)
        width, height = request.images[-1].size
        if chosen.task.answer_kind == "boxes":
            middle = np.array([[width / 4, height / 4, width * 3 / 4, height * 3 / 4]])
            return Answer("[25, 25, 75, 75]", chosen, boxes_px=middle)
        if chosen.task.answer_kind == "mask":
            mask = np.zeros((height, width), np.uint8)
            mask[height // 2 :] = 1
            return Answer("rows", chosen, mask=mask, labels=("others", *(request.labels or ("water",))))
        return Answer("two <b>houses</b>", chosen)


@pytest.fixture
def predictor() -> FakePredictor:
    return FakePredictor()


@pytest.fixture
def grey_png(tmp_path: Path) -> Callable[..., Path]:
    """Factory of grey pictures."""

    def make(name: str = "scene.png", size: tuple[int, int] = (60, 40)) -> Path:
        Image.new("RGB", size, "gray").save(tmp_path / name)
        return tmp_path / name

    return make
