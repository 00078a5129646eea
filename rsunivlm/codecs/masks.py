"""Masks as answers: a class map <-> a coarse grid <-> text.

The grid is the bottleneck: at 24 x 24 even a perfect answer scores about 62 IoU on small buildings. So the
way down (encode rule) and the way up (decode rule) are choices with names, and `to_grid` followed by
`grid_to_mask` gives the ceiling that belongs beside every segmentation score.

Down, mask -> grid:

- ``nearest``: the class at the cell's centre (the rule of Text4Seg's published scripts).
- ``area``: the foreground class that covers most of the cell if its share exceeds `area_threshold`.
  Shares near 0.35 keep thin and small things that a vote would lose.
- ``majority``: the class that covers most of the cell, background included.

Up, grid -> mask: ``nearest`` paints each cell; ``bilinear`` interpolates one plane per class (half-pixel
centres, as in ``torch.nn.functional.interpolate(align_corners=False)``) and takes the largest, which for two
classes is a threshold at 0.5. Ties go to the lower id, hence to the background.

Where a model says how sure it is of each cell, `soft_to_mask` interpolates these shares instead of the one
class it chose, and corrects them until each cell of the mask holds its share (Tobler's pycnophylactic
interpolation, 1979): edges lie where the shares say, and a thing smaller than a cell keeps its area.

Cell and pixel borders are compared in whole numbers (a pixel is `grid` units wide, a cell `pixels` units),
so shares and ties are exact for every image size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rsunivlm.codecs.mask_reader import Grid, MaskReport, read_grid
from rsunivlm.codecs.mask_text import DIALECTS, check_labels, write_grid
from rsunivlm.codecs.settings import CodecSettings, check_choice, check_image_size, check_integer

ClassMap = npt.NDArray[np.integer[Any]]

_EXACT_IN_FLOAT32 = 2**24
_CORRECTION = 0.5  # of what a cell lacks, in one round; whole steps swing back and forth


@dataclass(frozen=True)
class MaskCodec(CodecSettings):
    """Writes and reads masks as text.

    Attributes:
        grid: rows and columns of the grid (24 for the released weights).
        dialect: how a grid is spelled; either dialect is read.
        encode_rule: how a mask becomes a grid.
        area_threshold: share of a cell, in [0, 1), that the rule ``area`` asks for.
        decode_rule: how a grid becomes a mask.
        background: label of class 0.
    """

    grid: int = 24
    dialect: Literal["rsunivlm", "text4seg"] = "rsunivlm"
    encode_rule: Literal["nearest", "area", "majority"] = "nearest"
    area_threshold: float = 0.35
    decode_rule: Literal["nearest", "bilinear"] = "nearest"
    background: str = "others"

    def __post_init__(self) -> None:
        check_integer("MaskCodec", "grid", self.grid, 1, 1024)
        check_choice("MaskCodec", "dialect", self.dialect, tuple(DIALECTS))
        check_choice("MaskCodec", "encode_rule", self.encode_rule, ("nearest", "area", "majority"))
        check_choice("MaskCodec", "decode_rule", self.decode_rule, ("nearest", "bilinear"))
        threshold = self.area_threshold
        if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 <= threshold < 1:
            raise ValueError(f"MaskCodec: area_threshold must be in [0, 1), got {threshold!r}")
        check_labels([self.background], self.background)

    def encode(self, mask: npt.NDArray[Any], labels: Sequence[str], ignore_index: int | None = None) -> str:
        """Write a class map as text: `to_grid`, then `grid_to_text`."""
        return self.grid_to_text(self.to_grid(mask, len(labels), ignore_index), labels)

    def decode(
        self,
        text: str,
        labels: Sequence[str],
        size: tuple[int, int],
        synonyms: Mapping[str, str] | None = None,
    ) -> tuple[ClassMap, MaskReport]:
        """Read a text as a class map: `text_to_grid`, then `grid_to_mask`; no text makes this raise."""
        grid_ids, report = self.text_to_grid(text, labels, synonyms)
        return self.grid_to_mask(grid_ids, size), report

    def grid_to_text(self, grid_ids: ClassMap, labels: Sequence[str]) -> str:
        """Spell a grid in the codec's dialect.

        Args:
            grid_ids: [grid, grid] class ids.
            labels: class names by id, the background first.

        Raises:
            ValueError: wrong shape, an id without a label, or labels that cannot be told apart in a text.
        """
        check_labels(labels, self.background)
        grid_ids = np.asarray(grid_ids)
        if grid_ids.shape != (self.grid, self.grid):
            raise ValueError(f"grid must have shape {[self.grid] * 2}, got {list(grid_ids.shape)}")
        _check_ids(np.unique(grid_ids), len(labels))
        return write_grid(grid_ids, labels, DIALECTS[self.dialect])

    def text_to_grid(
        self, text: str, labels: Sequence[str], synonyms: Mapping[str, str] | None = None
    ) -> tuple[Grid, MaskReport]:
        """Read the grid of a text, whichever dialect it is in; no text makes this raise.

        Args:
            text: a model's answer.
            labels: class names by id, the background first.
            synonyms: further names that are read as one of the labels.

        Returns:
            [grid, grid] class ids, background where nothing could be read, and the report.

        Raises:
            ValueError: labels that cannot be told apart in a text, or a synonym for none of them.
        """
        check_labels(labels, self.background)
        return read_grid(text, labels, self.grid, self.dialect, synonyms)

    def to_grid(self, mask: npt.NDArray[Any], num_classes: int, ignore_index: int | None = None) -> Grid:
        """Bring a class map to the grid by the codec's encode rule.

        Args:
            mask: [H, W] class ids (or bool), any size, also smaller than the grid.
            num_classes: ids must lie in [0, num_classes).
            ignore_index: id of pixels without a label. They take no part in a vote; a cell that holds
                nothing else, or whose centre is one under ``nearest``, is background.

        Returns:
            [grid, grid] class ids.

        Raises:
            ValueError: not a two-dimensional map of whole numbers, or an id out of range.
        """
        mask = np.asarray(mask)
        if mask.ndim != 2 or mask.size == 0 or mask.dtype.kind not in "bui":
            raise ValueError(
                f"mask must be a [height, width] array of class ids, got {mask.dtype} {list(mask.shape)}"
            )
        present = np.unique(mask)
        classes = present[present != ignore_index] if ignore_index is not None else present
        _check_ids(classes, num_classes)
        if self.encode_rule == "nearest":
            rows, columns = (_centres(pixels, self.grid) for pixels in mask.shape)
            cells = mask[np.ix_(rows, columns)].astype(np.int64)
            return cells if ignore_index is None else np.where(cells == ignore_index, 0, cells)
        return self._vote(mask, classes.tolist(), ignore_index)

    def grid_to_mask(self, grid_ids: ClassMap, size: tuple[int, int]) -> ClassMap:
        """Bring a grid to image size by the codec's decode rule.

        Args:
            grid_ids: [grid, grid] class ids.
            size: (width, height) of the mask in pixels.

        Returns:
            [height, width] class ids, uint8 where they fit, else int32.

        Raises:
            ValueError: the size is not positive.
        """
        width, height = check_image_size(size)
        cells: ClassMap = grid_ids.astype(np.uint8 if grid_ids.max() <= 255 else np.int32)
        if self.decode_rule == "nearest":
            return cells[np.ix_(_centres(self.grid, height), _centres(self.grid, width))]
        planes = {number: cells == number for number in np.unique(cells).tolist()}
        # The sums are whole numbers up to 4 * height * width; below 2**24 the faster float32 is exact.
        exact = 4 * height * width <= _EXACT_IN_FLOAT32
        return _largest(planes, height, width, np.float32 if exact else np.float64).astype(cells.dtype)

    def soft_to_mask(self, shares: npt.ArrayLike, size: tuple[int, int], rounds: int = 4) -> ClassMap:
        """Bring soft labels to image size.

        Args:
            shares: [C, grid, grid] share or probability of each class in each cell, adding up to 1; or
                [grid, grid] that of the only class there is besides the background.
            size: (width, height) of the mask in pixels.
            rounds: corrections of what is interpolated towards a mask that holds these shares; 0 only
                interpolates. For classes that are all but certain in every cell, 0 is better.

        Returns:
            [height, width] class ids, uint8 where they fit, else int32; ties go to the lower id.

        Raises:
            ValueError: wrong shape, or the size is not positive.
        """
        width, height = check_image_size(size)
        wanted = np.asarray(shares, dtype=np.float64)
        if wanted.ndim == 2:
            wanted = np.stack([1 - wanted, wanted])
        if wanted.ndim != 3 or wanted.shape[1:] != (self.grid, self.grid):
            raise ValueError(f"shares must have shape [C, {self.grid}, {self.grid}], got {[*wanted.shape]}")
        planes = wanted.copy()
        mask = _largest(dict(enumerate(planes)), height, width, np.float64)
        rows, columns = _overlaps(height, self.grid), _overlaps(width, self.grid)
        for _ in range(rounds):
            for number, plane in enumerate(planes):
                held = _area(mask == number, rows, columns) / (height * width)
                plane += _CORRECTION * (wanted[number] - held)
            mask = _largest(dict(enumerate(planes)), height, width, np.float64)
        return mask.astype(np.uint8 if len(planes) <= 256 else np.int32)

    def _vote(self, mask: npt.NDArray[Any], classes: list[int], ignore_index: int | None) -> Grid:
        """Rules ``area`` and ``majority``: compare the classes' shares of each cell."""
        rows, columns = (_overlaps(pixels, self.grid) for pixels in mask.shape)
        voters = classes if self.encode_rule == "majority" else [number for number in classes if number > 0]
        winner = np.zeros((self.grid, self.grid), dtype=np.int64)
        most = np.zeros((self.grid, self.grid))
        for number in voters:
            share = _area(mask == number, rows, columns)
            winner[share > most] = number
            most = np.maximum(most, share)
        if self.encode_rule == "area":
            labelled = (
                float(mask.size) if ignore_index is None else _area(mask != ignore_index, rows, columns)
            )
            winner[most <= self.area_threshold * labelled] = 0
        return winner


def _check_ids(ids: npt.NDArray[Any], num_classes: int) -> None:
    bad = [number for number in ids.tolist() if not 0 <= number < num_classes]
    if bad:
        raise ValueError(
            f"mask holds class id {', '.join(map(str, bad[:8]))}, but there are {num_classes} labels "
            f"(ids 0..{num_classes - 1}): map the ids or name the unlabelled one as ignore_index"
        )


def _centres(source: int, target: int) -> npt.NDArray[np.int64]:
    """Index into `source` equal parts of a side for the centre of each of `target` equal parts."""
    return (2 * np.arange(target) + 1) * source // (2 * target)


def _overlaps(pixels: int, cells: int) -> npt.NDArray[np.float32]:
    """[cells, pixels] length shared by each cell and each pixel, in units of 1/(cells * pixels) of a side."""
    cell, pixel = np.arange(cells)[:, None], np.arange(pixels)[None, :]
    low = np.maximum(cell * pixels, pixel * cells)
    high = np.minimum((cell + 1) * pixels, (pixel + 1) * cells)
    return np.maximum(high - low, 0).astype(np.float32)


def _area(
    chosen: npt.NDArray[np.bool_], rows: npt.NDArray[np.float32], columns: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """[cells, cells] area of chosen pixels in each cell, from the overlaps of both sides."""
    # Sums along one side stay below 2**24, so float32 holds them exactly.
    return (rows @ chosen.astype(np.float32)).astype(np.float64) @ columns.T.astype(np.float64)


def _weights(pixels: int, cells: int) -> npt.NDArray[np.int64]:
    """[pixels, cells] linear interpolation weights, in units of 1/(2 * pixels); rows sum to 2 * pixels."""
    unit = 2 * pixels
    position = np.clip((2 * np.arange(pixels) + 1) * cells - pixels, 0, (cells - 1) * unit)
    left, share = np.divmod(position, unit)
    weights = np.zeros((pixels, cells), dtype=np.int64)
    np.add.at(weights, (np.arange(pixels), left), unit - share)
    np.add.at(weights, (np.arange(pixels), np.minimum(left + 1, cells - 1)), share)
    return weights


def _largest(
    planes: Mapping[int, npt.NDArray[Any]], height: int, width: int, dtype: type[np.floating[Any]]
) -> npt.NDArray[np.int32]:
    """[height, width] class whose [cells, cells] plane is the largest after bilinear interpolation."""
    first, *others = planes
    cells = len(planes[first])
    rows, columns = _weights(height, cells).astype(dtype), _weights(width, cells).astype(dtype)
    mask = np.full((height, width), first, dtype=np.int32)
    most = rows @ planes[first].astype(dtype) @ columns.T
    for number in others:
        plane = rows @ planes[number].astype(dtype) @ columns.T
        mask[plane > most] = number
        np.maximum(most, plane, out=most)
    return mask
