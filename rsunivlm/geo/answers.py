"""The journal read back: tile by tile, what was seen and said, and a tally for the report.

Shapes: H height, W width of a tile; K boxes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsunivlm.geo.job import Job
from rsunivlm.geo.journal import Journal, Line, unpack_mask
from rsunivlm.inference.tiling import Part


@dataclass(frozen=True)
class TileAnswers:
    """One tile.

    Attributes:
        number: in the order of the tiling.
        part: where it lies.
        error: why it could not be read; None if it could.
        valid: which of its pixels [H, W] have data.
        answers: by question; empty if it could not be read or has no data.
    """

    number: int
    part: Part
    error: str | None
    valid: NDArray[np.bool_]
    answers: dict[int, Line]

    def class_ids(self) -> NDArray[np.uint8]:
        """Class ids [H, W]: 0 background, 1 the first class and so on; 255 without data.

        Where classes overlap, the one that was named first has the pixel.
        """
        ids_HW = np.zeros_like(self.valid, np.uint8)
        for question in sorted(self.answers, reverse=True):
            ids_HW[unpack_mask(self.answers[question]["mask"], self.valid.shape)] = question + 1
        ids_HW[~self.valid] = 255
        return ids_HW

    def boxes(self, question: int) -> NDArray[np.float64]:
        """Boxes [K, 4] of a question in pixels of the grid, but those on pixels without data alone."""
        boxes = np.array(self.answers[question]["boxes"], float).reshape(-1, 4)
        height, width = self.valid.shape
        kept = []
        for x1, y1, x2, y2 in np.clip(boxes, 0, (width, height, width, height)).tolist():
            columns, rows = slice(int(x1), int(np.ceil(x2))), slice(int(y1), int(np.ceil(y2)))
            if self.valid[rows, columns].any():
                kept.append([x1, y1, x2, y2])
        window = self.part.window
        return np.array(kept).reshape(-1, 4) + np.array([window.x, window.y] * 2)


@dataclass
class Tally:
    """What a report says about the tiles.

    Attributes:
        answered: tiles that were asked about.
        nodata: tiles without any data.
        skipped: tiles that could not be read, and questions whose answer could not be, with the reason.
    """

    answered: int = 0
    nodata: int = 0
    skipped: list[dict[str, Any]] = field(default_factory=list)

    def count(self, tile: TileAnswers, names: list[str]) -> None:
        """Take in one tile; `names` are those of the questions."""
        self.answered += bool(tile.answers)
        self.nodata += tile.error is None and not tile.answers
        reasons = [] if tile.error is None else [tile.error]
        reasons += [
            f"the answer about {names[question]!r} could not be read"
            for question, answer in tile.answers.items()
            if not answer["readable"]
        ]
        window = tile.part.window
        place = [window.x, window.y, window.width, window.height]
        self.skipped += [{"tile": tile.number, "window": place, "reason": reason} for reason in reasons]


def read_answers(job: Job, journal: Journal, tally: Tally) -> Iterator[TileAnswers]:
    """The tiles of a complete journal, counted as they pass."""
    names = [question.name for question in job.questions]
    groups = groupby(journal.lines(), key=lambda line: int(line["tile"]))
    for part, (number, group) in zip(job.tiling.parts(job.grid.size), groups, strict=True):
        seen, *said = group
        shape = (part.window.height, part.window.width)
        if "error" in seen or seen["valid"] == "none":
            valid_HW = np.zeros(shape, bool)
        else:
            whole = seen["valid"] == "all"
            valid_HW = np.ones(shape, bool) if whole else unpack_mask(seen["valid"], shape)
        answers = {int(line["question"]): line["answer"] for line in said}
        tile = TileAnswers(number, part, seen.get("error"), valid_HW, answers)
        tally.count(tile, names)
        yield tile
