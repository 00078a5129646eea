"""What happens when a button is pressed, without the page: read the uploads, ask, draw, write files."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Protocol

from rsunivlm.codecs import BoxCodec
from rsunivlm.demo.limits import Limits
from rsunivlm.demo.questions import compose_question
from rsunivlm.demo.results import Result, make_result
from rsunivlm.demo.uploads import Upload, read_upload
from rsunivlm.inference.answer import Answer, Request
from rsunivlm.tasks import Task


class Predictor(Protocol):
    """The part of `rsunivlm.inference.families.Predictor` that the demo uses."""

    tasks: ClassVar[tuple[Task, ...]]
    box_codec: BoxCodec

    def answer_batch(self, requests: Sequence[Request]) -> list[Answer]:
        """Answer requests in their order."""
        ...


class DemoService:
    """Answers the page's questions with one model.

    Args:
        predictor: The model; used by one question at a time.
        limits: What a visitor may ask for.
        folder: Where files for download are written; the owner of the folder clears it.
    """

    def __init__(self, predictor: Predictor, limits: Limits, folder: Path) -> None:
        self.predictor = predictor
        self.limits = limits
        self.folder = folder

    def read(self, uploads: Sequence[str | None], bands: str = "") -> list[Upload]:
        """Read the uploads that are there.

        Raises:
            ValueError: See `read_upload`.
        """
        return [read_upload(path, self.limits, bands=bands) for path in uploads if path]

    def ask(
        self, uploads: Sequence[str | None], prompt: str, task: str = "", classes: str = "", bands: str = ""
    ) -> Result:
        """Answer one question about one or two uploads, before and after.

        Raises:
            ValueError: No image, a file that cannot be read, or a question that does not fit; see
                `read_upload`, `compose_question` and `RSUniVLM.answer_batch`.
        """
        given = sum(1 for path in uploads if path)
        if not given:
            raise ValueError("choose an image first")
        question = compose_question(prompt, task, classes, given, self.limits)
        scenes = self.read(uploads, bands)
        request = Request(
            [scene.picture for scene in scenes],
            question.prompt,
            task=question.route.task if task else None,
            labels=question.labels,
            choices=question.choices,
            max_seconds=self.limits.max_seconds,
        )
        answer = self.predictor.answer_batch([request])[0]
        region_px = None
        if answer.route.task is Task.REG:
            region_px, _ = self.predictor.box_codec.decode(question.prompt, scenes[-1].picture.size)
        folder = Path(tempfile.mkdtemp(prefix="answer-", dir=self.folder))
        return make_result(scenes, question.prompt, answer, folder, region_px=region_px)
