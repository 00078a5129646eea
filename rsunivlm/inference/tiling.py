"""Large scenes as overlapping tiles: where they lie, and which part of each is kept.

A mask of 24 x 24 cells over a picture of 4000 x 3000 pixels misses everything below 160 pixels. Tiles bring
the cells down to the size of things, for as many more answers.

Where tiles overlap, each pixel is taken from the tile in which it lies further from the border: the cut runs
through the middle of the overlap. (Answers are masks, not probabilities, so there is nothing to average.) The
last tile of a row or column is moved back to end at the border, so that every tile has full size; a scene
smaller than a tile is one tile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Window:
    """A rectangle of a scene in pixels."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Part:
    """A tile and the rectangle within it that is kept, both in pixels of the scene."""

    window: Window
    kept: Window

    def of(self, scene: NDArray[Any]) -> NDArray[Any]:
        """The tile's pixels of a scene [height, width, ...]."""
        x, y = self.window.x, self.window.y
        return scene[y : y + self.window.height, x : x + self.window.width]

    def inner(self, tile: NDArray[Any]) -> NDArray[Any]:
        """What is kept of a tile [height, width, ...]."""
        x, y = self.kept.x - self.window.x, self.kept.y - self.window.y
        return tile[y : y + self.kept.height, x : x + self.kept.width]

    def paste(self, tile: NDArray[Any], scene: NDArray[Any]) -> None:
        """Write what is kept of a tile into the scene."""
        kept = self.kept
        scene[kept.y : kept.y + kept.height, kept.x : kept.x + kept.width] = self.inner(tile)


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

    def parts(self, size: tuple[int, int]) -> Iterator[Part]:
        """The tiles of a scene of (width, height) pixels, row by row; what they keep covers it once."""
        columns, rows = (self._spans(length) for length in size)
        for y, height, kept_y, kept_height in rows:
            for x, width, kept_x, kept_width in columns:
                yield Part(Window(x, y, width, height), Window(kept_x, kept_y, kept_width, kept_height))

    def count(self, size: tuple[int, int]) -> int:
        """How many tiles a scene of (width, height) pixels has."""
        columns, rows = (len(self._starts(length)) for length in size)
        return columns * rows

    def _starts(self, length: int) -> list[int]:
        last = max(0, length - self.tile)
        return [*range(0, last, self.tile - self.overlap), last]

    def _spans(self, length: int) -> list[tuple[int, int, int, int]]:
        """Start and length of each tile, and of what is kept of it, along one side of `length` pixels."""
        starts = self._starts(length)
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
