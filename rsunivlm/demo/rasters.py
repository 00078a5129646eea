"""A GeoTIFF as one picture for the page: bands and stretch as in `rsunivlm raster`, reduced while it is read.

A reduced read takes overviews where there are any, and its memory is bounded by a block and the picture,
whatever the size of the raster. It still decodes every block: what would take long is refused by the header.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rsunivlm.demo.uploads import Upload
from rsunivlm.geo.bands import PERCENTILES, Stretch, choose_bands
from rsunivlm.geo.grid import Grid
from rsunivlm.geo.scene import gdal_settings, native_grid, open_source

PICTURE_SIDE = 2048  # longer side in pixels; several times what a vision tower looks at
# GDAL decodes whole blocks. A file that claims one block of gigabytes is refused by its header.
MAX_BLOCK_BYTES = 256 << 20


def read_geotiff(path: Path, max_pixels: int, *, bands: str = "") -> Upload:
    """Read three bands (or one, as grey) of a GeoTIFF, reduced to at most `PICTURE_SIDE` pixels a side.

    Args:
        path: The file.
        max_pixels: Refuse rasters whose header claims more.
        bands: Band numbers from 1, one or three, separated by commas; empty chooses (see
            `rsunivlm.geo.bands.choose_bands`).

    Raises:
        ValueError: Too large, damaged, or no such bands.
    """
    from rasterio.errors import RasterioError

    asked = _read_bands(bands)
    with gdal_settings(), open_source(path) as dataset:
        _check(dataset, path, max_pixels)
        colours = [colour.name for colour in dataset.colorinterp]
        chosen = choose_bands(dataset.count, colours, asked, path.name)
        native = native_grid(dataset)
        grid = _reduced(native)
        try:
            values_BHW, valid_HW = _read(dataset, chosen, grid)
        except RasterioError as error:
            raise ValueError(f"{path} cannot be read: {error.__cause__ or error}") from error
        notes = [f"band{'s' if len(chosen) > 1 else ''} {', '.join(map(str, chosen))} of {dataset.count}"]
    if grid.size != native.size:
        notes.append(f"reduced to {grid.width} x {grid.height} pixels")
    if values_BHW.dtype != np.uint8:
        values_BHW = Stretch.of(values_BHW[:, valid_HW], PERCENTILES).apply(values_BHW)
        notes.append(f"stretched between percentiles {PERCENTILES[0]:g} and {PERCENTILES[1]:g}")
    notes.append(f"CRS {_crs_name(grid)}" if grid.crs else "no CRS: answers stay in pixels")
    pixels_HWC = np.moveaxis(np.broadcast_to(values_BHW, (3, *valid_HW.shape)), 0, -1) * valid_HW[..., None]
    place = grid if grid.crs else None
    return Upload(path.name, Image.fromarray(pixels_HWC), native.size, place, tuple(notes))


def _read(dataset: Any, bands: list[int], grid: Grid) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Values [B, H, W] of the whole raster reduced to `grid`, and where [H, W] they are valid."""
    from rasterio.enums import Resampling

    shape = (len(bands), grid.height, grid.width)
    values_BHW = dataset.read(bands, out_shape=shape, resampling=Resampling.average)
    valid_HW = dataset.read_masks(bands, out_shape=shape).any(axis=0)
    if values_BHW.dtype.kind == "f":
        valid_HW &= np.isfinite(values_BHW).all(axis=0)
    return values_BHW, valid_HW


def _read_bands(text: str) -> list[int] | None:
    words = [word.strip() for word in text.split(",")] if text.strip() else []
    if not all(word.isdecimal() for word in words):
        raise ValueError(f"bands are numbers separated by commas, got {text!r}")
    return [int(word) for word in words] or None


def _check(dataset: Any, path: Path, max_pixels: int) -> None:
    from rasterio.enums import Interleaving

    if dataset.width * dataset.height > max_pixels:
        raise ValueError(
            f"{path} has {dataset.width} x {dataset.height} = {dataset.width * dataset.height / 1e6:.0f} "
            f"megapixels, the limit of this page is {max_pixels / 1e6:g}; use `rsunivlm raster`"
        )
    if np.dtype(dataset.dtypes[0]).kind not in "uif":
        raise ValueError(f"{path} holds {dataset.dtypes[0]} values; the model looks at real ones")
    height, width = dataset.block_shapes[0]
    bands_together = dataset.count if dataset.interleaving == Interleaving.pixel else 1
    block_bytes = height * width * np.dtype(dataset.dtypes[0]).itemsize * bands_together
    if block_bytes > MAX_BLOCK_BYTES:
        raise ValueError(
            f"{path} is stored in blocks of {block_bytes / 1e6:.0f} MB; store it in tiles first "
            "(`gdal_translate -co TILED=YES`)"
        )


def _reduced(grid: Grid) -> Grid:
    """The grid over the same ground within `PICTURE_SIDE` pixels a side."""
    factor = max(grid.size) / PICTURE_SIDE
    if factor <= 1:
        return grid
    width, height = (max(1, round(side / factor)) for side in grid.size)
    across, down, t = grid.width / width, grid.height / height, grid.transform
    scaled = (t.a * across, t.b * down, t.c, t.d * across, t.e * down, t.f)
    return Grid(width, height, type(t)(*scaled), grid.crs)


def _crs_name(grid: Grid) -> str:
    code = grid.crs.to_epsg()
    return f"EPSG:{code}" if code else "without EPSG code"
