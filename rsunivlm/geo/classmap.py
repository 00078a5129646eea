"""The class map: one byte a pixel, written tile by tile to a tiled GeoTIFF and read back by rows.

0 is the background, 1 the first class and so on, 255 "no data": pixels without data and tiles that could not
be read. Colours and the names of the classes (tags `CLASS_0`, `CLASS_1`, ...) are in the file.

GDAL writes its last blocks when a file is closed, and does not say if the disk is full by then. So what was
written is read back and compared.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsunivlm.codecs import MaskCodec
from rsunivlm.geo.answers import TileAnswers
from rsunivlm.geo.grid import Grid
from rsunivlm.geo.job import Job
from rsunivlm.geo.polygons import strip_rows
from rsunivlm.inference.tiling import Part

NO_DATA = 255
_BLOCK = 512
# Colours that stay apart for most colour-blind readers (Paul Tol's schemes "bright" and "light"); repeated.
_COLOURS = (
    (0xEE, 0x66, 0x77),
    (0x44, 0x77, 0xAA),
    (0xCC, 0xBB, 0x44),
    (0x22, 0x88, 0x33),
    (0xAA, 0x33, 0x77),
    (0x66, 0xCC, 0xEE),
    (0xEE, 0x88, 0x66),
    (0x77, 0xAA, 0xDD),
    (0xEE, 0xDD, 0x88),
    (0xAA, 0xAA, 0x00),
    (0xFF, 0xAA, 0xBB),
    (0x99, 0xDD, 0xFF),
)


def write_class_map(path: Path, job: Job, tiles: Iterable[TileAnswers]) -> None:
    """Write what is kept of every tile; memory is bounded by GDAL's cache.

    Raises:
        OSError: the disk is full.
    """
    import rasterio

    names = [MaskCodec().background, *(question.name for question in job.questions)]
    profile = {
        "driver": "GTiff",
        "width": job.grid.width,
        "height": job.grid.height,
        "count": 1,
        "dtype": "uint8",
        "nodata": NO_DATA,
        "crs": job.grid.crs,
        "transform": job.grid.transform,
        "tiled": True,
        "blockxsize": _BLOCK,
        "blockysize": _BLOCK,
        "compress": "deflate",
        "bigtiff": "if_safer",
    }
    sums = array("L")
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write_colormap(1, _colours(len(names)))
        dataset.update_tags(**{f"CLASS_{number}": name for number, name in enumerate(names)})
        dataset.update_tags(NOTES="; ".join(job.notes), TASK=str(job.task))
        for tile in tiles:
            ids = tile.part.inner(tile.class_ids())
            sums.append(zlib.crc32(ids.tobytes()))
            dataset.write(ids, 1, window=_window(tile.part))
    with rasterio.open(path, driver="GTiff") as dataset:
        for part, expected in zip(job.tiling.parts(job.grid.size), sums, strict=True):
            if zlib.crc32(dataset.read(1, window=_window(part)).tobytes()) != expected:
                raise OSError(f"{path.name} is incomplete")


@contextmanager
def class_map_rows(path: Path) -> Iterator[Callable[[int, int], NDArray[np.uint8]]]:
    """A function that reads rows [from, to) of a class map."""
    import rasterio

    with rasterio.open(path, driver="GTiff") as dataset:

        def read_rows(top: int, bottom: int) -> NDArray[np.uint8]:
            return np.asarray(dataset.read(1, window=((top, bottom), (0, dataset.width))))

        yield read_rows


def finish_raster(class_map: Path, out: Path, grid: Grid, *, cog: bool) -> None:
    """Make the class map of a grid the result, as it is or as a cloud optimised GeoTIFF (with overviews).

    Raises:
        OSError: the disk is full.
    """
    if not cog:
        class_map.replace(out)
        return
    from rasterio.shutil import copy

    # Classes have no mean: overviews show the class that most pixels have.
    copy(class_map, out, driver="COG", compress="deflate", bigtiff="if_safer", overview_resampling="mode")
    with class_map_rows(class_map) as wanted, class_map_rows(out) as written:
        step = strip_rows(grid.width)
        for top in range(0, grid.height, step):
            rows = top, min(top + step, grid.height)
            if (wanted(*rows) != written(*rows)).any():
                raise OSError(f"{out.name} is incomplete")


def _window(part: Part) -> Any:
    """What is kept of a tile, as rows and columns."""
    kept = part.kept
    return (kept.y, kept.y + kept.height), (kept.x, kept.x + kept.width)


def _colours(count: int) -> dict[int, tuple[int, int, int, int]]:
    table = {0: (0, 0, 0, 0), NO_DATA: (255, 255, 255, 0)}
    return table | {number: (*_COLOURS[(number - 1) % len(_COLOURS)], 255) for number in range(1, count)}
