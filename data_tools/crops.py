"""Cutting large rasters into crops, window by window.

A crop is read straight from its window: TIFF files through rasterio, which reads only the strips or tiles
that the window touches; PNG and JPEG, whose pixels cannot be reached without those before them, are decoded
once per raster and cut in memory. So memory is bounded by one window, or by one PNG.

Shapes: H height, W width of a window.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_tools.files import read_colours, read_mask

_TIFF = (".tif", ".tiff")
# GDAL keeps decoded strips for the next window of the same row. By default it would take 5 % of the machine's
# memory for that; this is three times what the largest row of windows needs (WHU-CD: 21243 x 256 pixels).
_CACHE_BYTES = 64 << 20

Kind = Literal["colours", "classes"]


@dataclass(frozen=True)
class Window:
    """A rectangle of a raster in pixels."""

    x: int
    y: int
    width: int
    height: int

    def __str__(self) -> str:
        """Its corners, as benchmark tools name their crops: left_top_right_bottom."""
        return f"{self.x}_{self.y}_{self.x + self.width}_{self.y + self.height}"


def windows(size: tuple[int, int], side: int, *, rest: Literal["move", "drop"] = "move") -> Iterator[Window]:
    """Cover a raster with square windows, row by row.

    Args:
        size: (width, height) of the raster.
        side: of a window.
        rest: what becomes of a last row or column that is narrower than a window. "move": the window is moved
            back to end at the border, so every pixel is covered and none is padded; a raster smaller than a
            window gives one of its own size. "drop": it is left out, so no pixel is covered twice.

    Raises:
        ValueError: `side` is not positive.
    """
    if side < 1:
        raise ValueError(f"the side of a crop must be at least 1, got {side}")
    columns, rows = (_starts(length, side, rest) for length in size)
    for y in rows:
        for x in columns:
            yield Window(x, y, min(side, size[0]), min(side, size[1]))


def _starts(length: int, side: int, rest: Literal["move", "drop"]) -> list[int]:
    if rest == "drop":
        return list(range(0, length - side + 1, side))
    last = max(0, length - side)
    return [*range(0, last, side), last]


class Raster(Protocol):
    """An open raster: its (width, height), and its pixels by windows."""

    size: tuple[int, int]

    def read(self, window: Window) -> NDArray[np.integer[Any]]:
        """[H, W, 3] bytes (red, green, blue) of a raster of colours, [H, W] values of one of classes.

        Raises:
            ValueError: the window reaches beyond the raster, or its pixels are damaged.
        """


@contextmanager
def open_raster(path: Path, kind: Kind) -> Iterator[Raster]:
    """Open a raster for reading windows.

    Args:
        path: a TIFF, PNG or JPEG file.
        kind: "colours" for a picture or a colour-coded label image (the first three bands), "classes" for a
            label image of class numbers (the first band, or the indices into a palette).

    Raises:
        ValueError: the file is missing, damaged, too large to decode or not of 8 bits, or rasterio is not
            installed.
    """
    if path.suffix.lower() in _TIFF:
        with _open_tiff(path, kind) as raster:
            yield raster
    else:
        yield _Decoded(path, kind)


class _Decoded:
    """A raster that is in memory as a whole."""

    def __init__(self, path: Path, kind: Kind) -> None:
        self._pixels = read_colours(path) if kind == "colours" else read_mask(path)
        self.size = (self._pixels.shape[1], self._pixels.shape[0])

    def read(self, window: Window) -> NDArray[np.integer[Any]]:
        _check_inside(window, self.size)
        return self._pixels[window.y : window.y + window.height, window.x : window.x + window.width]


class _Tiff:
    """A raster that rasterio has opened."""

    def __init__(self, path: Path, dataset: Any, kind: Kind) -> None:
        self._path, self._dataset = path, dataset
        self.size = (dataset.width, dataset.height)
        self._bands: int | tuple[int, ...] = (1, 2, 3) if kind == "colours" else 1
        if dataset.count < np.max(self._bands):
            raise ValueError(f"image {path.name} has {dataset.count} band(s), needs red, green and blue")
        if set(dataset.dtypes) != {"uint8"}:
            raise ValueError(f"image {path.name} is not made of 8-bit channels ({dataset.dtypes[0]})")

    def read(self, window: Window) -> NDArray[np.integer[Any]]:
        from rasterio.errors import RasterioError
        from rasterio.windows import Window as RasterioWindow

        _check_inside(window, self.size)
        area = RasterioWindow(window.x, window.y, window.width, window.height)
        try:
            pixels = self._dataset.read(self._bands, window=area)
        except RasterioError as error:
            raise ValueError(f"image {self._path.name} is damaged ({error})") from error
        return pixels if pixels.ndim == 2 else np.moveaxis(pixels, 0, -1)


def _check_inside(window: Window, size: tuple[int, int]) -> None:
    if window.x + window.width > size[0] or window.y + window.height > size[1]:
        raise ValueError(f"window {window} reaches beyond the {size[0]} x {size[1]} raster")


@contextmanager
def _open_tiff(path: Path, kind: Kind) -> Iterator[Raster]:
    try:
        import rasterio
        from rasterio.errors import NotGeoreferencedWarning, RasterioError
    except ImportError as error:
        raise ValueError("cutting TIFF rasters needs rasterio: pip install 'rsunivlm[geo]'") from error
    if not path.is_file():
        raise ValueError(f"image {path.name} is missing")
    with rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES):
        try:
            with warnings.catch_warnings():
                # Benchmark tiles come with and without a position on earth; only the pixels count here.
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                # Left to guess, GDAL would open any of its formats, some of which lead to other files.
                dataset = rasterio.open(path, driver="GTiff")
        except RasterioError as error:
            raise ValueError(f"image {path.name} is unreadable ({error})") from error
        with dataset:
            yield _Tiff(path, dataset, kind)


def save_crop(path: Path, pixels: NDArray[np.integer[Any]]) -> None:
    """Write a crop as a PNG or JPEG file (by its name) that appears only when it is complete.

    Args:
        path: where to; folders are made.
        pixels: [H, W] or [H, W, 3], all within 0..255.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{os.getpid()}.{path.name}")  # several processes may cut the same raster
    # Level 1: crops of photographs hardly shrink further, and encoding is what cutting spends its time on.
    Image.fromarray(np.ascontiguousarray(pixels, np.uint8)).save(partial, compress_level=1, quality=95)
    os.replace(partial, path)
