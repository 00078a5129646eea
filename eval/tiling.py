"""Large scenes at native size: cut into overlapping tiles, asked tile by tile, put together again.

A mask of 24 x 24 cells over a picture of 4000 x 3000 pixels misses everything below 160 pixels. Tiles bring
the cells down to the size of things, for as many more answers.

Where tiles overlap, each pixel is taken from the tile in which it lies further from the border: the cut runs
through the middle of the overlap. (Answers are masks, not probabilities, so there is nothing to average.) The
last tile of a row or column is moved back to end at the border, so that every tile has full size; a picture
smaller than a tile is asked as a whole. A tile whose answer cannot be read is marked as such in the mask, by
the label `UNREAD`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_tools.crops import Window
from eval.tasks import Answerer
from rsunivlm.codecs import MaskReport
from rsunivlm.images import open_image
from rsunivlm.inference.answer import Answer, Request
from rsunivlm.tasks import route

# Label and id of the pixels of unreadable tiles, after the background (0) and the class asked for (1).
UNREAD, UNREAD_ID = "unreadable", 2


@dataclass(frozen=True)
class Part:
    """A tile and the rectangle within it that is kept, both in pixels of the scene."""

    window: Window
    kept: Window

    def of(self, scene: NDArray[Any]) -> NDArray[Any]:
        """The tile's pixels of a scene [height, width, ...]."""
        x, y = self.window.x, self.window.y
        return scene[y : y + self.window.height, x : x + self.window.width]

    def paste(self, tile: NDArray[Any], scene: NDArray[Any]) -> None:
        """Write what is kept of a tile into the scene."""
        kept, x, y = self.kept, self.kept.x - self.window.x, self.kept.y - self.window.y
        inner = tile[y : y + kept.height, x : x + kept.width]
        scene[kept.y : kept.y + kept.height, kept.x : kept.x + kept.width] = inner


@dataclass(frozen=True)
class Tiling:
    """How scenes are cut.

    Attributes:
        tile: side of a tile in pixels.
        overlap: of neighbouring tiles, in pixels; less than the side.
    """

    tile: int
    overlap: int = 0

    def __post_init__(self) -> None:
        if self.tile < 1 or not 0 <= self.overlap < self.tile:
            raise ValueError(
                f"--tile must be at least 1 and --overlap in [0, tile), got {self.tile} and {self.overlap}"
            )

    @classmethod
    def given(cls, tile: int | None, overlap: int | None) -> Tiling | None:
        """As the command line says; None without tiles. The overlap is an eighth of a tile if not named."""
        if tile is None:
            if overlap is not None:
                raise ValueError("--overlap needs --tile")
            return None
        return cls(tile, tile // 8 if overlap is None else overlap)

    def __str__(self) -> str:
        return f"tiles of {self.tile} pixels that overlap by {self.overlap}, cut in the middle of the overlap"

    def parts(self, size: tuple[int, int]) -> list[Part]:
        """The tiles of a scene of (width, height) pixels, row by row; what they keep covers it once."""
        columns, rows = (self._spans(length) for length in size)
        return [
            Part(Window(x, y, width, height), Window(kept_x, kept_y, kept_width, kept_height))
            for y, height, kept_y, kept_height in rows
            for x, width, kept_x, kept_width in columns
        ]

    def _spans(self, length: int) -> list[tuple[int, int, int, int]]:
        """Start and length of each tile, and of what is kept of it, along one side of `length` pixels."""
        last = max(0, length - self.tile)
        starts = [*range(0, last, self.tile - self.overlap), last]
        side = min(self.tile, length)
        cuts = [0, *((right + left + side + 1) // 2 for left, right in pairwise(starts)), length]
        return [
            (start, side, low, high - low) for start, (low, high) in zip(starts, pairwise(cuts), strict=True)
        ]

    def stitch(
        self, shape: tuple[int, ...], tile_mask: Callable[[Part], NDArray[np.bool_]]
    ) -> NDArray[np.bool_]:
        """A mask of (height, width) pixels from the masks of its tiles."""
        scene = np.zeros(shape, bool)
        for part in self.parts((shape[1], shape[0])):
            part.paste(tile_mask(part), scene)
        return scene


class TiledAnswerer:
    """An answerer that is asked tile by tile; gives masks of the whole scene."""

    def __init__(self, inner: Answerer, tiling: Tiling) -> None:
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
        self.parts = tiling.parts(size)
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
