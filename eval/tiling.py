"""Masks of large scenes, asked tile by tile and put together again.

How scenes are cut and stitched: `rsunivlm.inference.tiling`. A tile whose answer cannot be read is marked as
such in the mask, by the label `UNREAD`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from eval.tasks import Answerer
from rsunivlm.codecs import MaskReport
from rsunivlm.images import open_image
from rsunivlm.inference.answer import Answer, Request
from rsunivlm.inference.tiling import Part, Tiling
from rsunivlm.tasks import route

# Label and id of the pixels of unreadable tiles, after the background (0) and the class asked for (1).
UNREAD, UNREAD_ID = "unreadable", 2


class TiledAnswerer:
    """An answerer that is asked tile by tile; gives masks of the whole scene."""

    def __init__(self, inner: Answerer, tiling: Tiling) -> None:
        self.tasks = inner.tasks
        self.box_codec, self.mask_codec = inner.box_codec, inner.mask_codec
        self.tiling, self._inner = tiling, inner

    def describe(self) -> dict[str, Any]:
        """The model, and how it was asked."""
        tiling = {"tile": self.tiling.tile, "overlap": self.tiling.overlap}
        return self._inner.describe() | {"tiling": tiling}

    def answer_batch(
        self, requests: Sequence[Request], *, batch_size: int, max_new_tokens: int
    ) -> list[Answer]:
        """Answers in the order of the requests; tiles of several scenes share a batch.

        Raises:
            ValueError: the answer to a request is no mask of one named class, or a pair differs in size.
        """
        scenes = [_Scene(request, self.tiling) for request in requests]
        jobs = [(scene, part) for scene in scenes for part in scene.parts]
        for start in range(0, len(jobs), batch_size):
            chunk = jobs[start : start + batch_size]
            asked = [scene.ask(part) for scene, part in chunk]
            answers = self._inner.answer_batch(asked, batch_size=batch_size, max_new_tokens=max_new_tokens)
            for (scene, part), answer in zip(chunk, answers, strict=True):
                scene.add(part, answer)
        return [scene.answer() for scene in scenes]


class _Scene:
    """One request with the mask that grows as its tiles are answered."""

    def __init__(self, request: Request, tiling: Tiling) -> None:
        self._request = request
        # Pictures are opened already where several questions share one; a copy each would fill the memory.
        self._images = [
            image if isinstance(image, Image.Image) else open_image(image) for image in request.images
        ]
        size = self._images[-1].size
        chosen = route(request.prompt, num_images=len(request.images), task=request.task)
        if chosen.task.answer_kind != "mask" or request.labels is None or len(request.labels) != 1:
            raise ValueError(f"only questions for the mask of one class can be tiled: {request.prompt!r}")
        if self._images[0].size != size:
            raise ValueError(
                f"tiles need a pair of images of one size, got {self._images[0].size} and {size}: "
                f"{request.prompt!r}"
            )
        self.parts = list(tiling.parts(size))
        self._ids = np.zeros((size[1], size[0]), np.uint8)
        self._answers: list[Answer] = []

    def ask(self, part: Part) -> Request:
        """The question about one tile."""
        x, y, window = part.window.x, part.window.y, part.window
        box = (x, y, x + window.width, y + window.height)
        crops = [image.crop(box) for image in self._images]
        return Request(crops, self._request.prompt, self._request.task, self._request.labels)

    def add(self, part: Part, answer: Answer) -> None:
        """Take the answer to one tile."""
        assert answer.mask is not None
        assert isinstance(answer.report, MaskReport)
        ids = answer.mask if answer.report.valid else np.full_like(answer.mask, UNREAD_ID)
        part.paste(ids, self._ids)
        self._answers.append(answer)

    def answer(self) -> Answer:
        """The answer about the scene; its text is that of all tiles, row by row, parted by empty lines."""
        first = self._answers[0]
        reports = [answer.report for answer in self._answers if isinstance(answer.report, MaskReport)]
        return Answer(
            text="\n\n".join(answer.text for answer in self._answers),
            route=first.route,
            mask=self._ids,
            labels=(*first.labels, UNREAD),
            report=_joined(reports),
            finished=all(answer.finished for answer in self._answers),
        )


def _joined(reports: Sequence[MaskReport]) -> MaskReport:
    """One report for all tiles: counts are added up, unknown labels and stray text are those of the first."""

    def total(name: str) -> int:
        return sum(getattr(report, name) for report in reports)

    def some(pieces: Iterator[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(pieces))[:8]

    unreadable = sum(not report.valid for report in reports)
    return MaskReport(
        rows_expected=total("rows_expected"),
        rows_found=total("rows_found"),
        rows_repaired=total("rows_repaired"),
        rows_missing=total("rows_missing"),
        rows_extra=total("rows_extra"),
        unknown_labels=some(label for report in reports for label in report.unknown_labels),
        stray=some(piece for report in reports for piece in report.stray),
        stray_chars=total("stray_chars"),
        notes=(f"tiles: {len(reports)}", f"tiles without a readable mask: {unreadable}"),
        valid=unreadable < len(reports),
    )
