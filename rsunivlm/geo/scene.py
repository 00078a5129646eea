"""Rasters as untrusted files that are read by windows, as 8-bit pictures on a grid of our choice.

`open_source` opens a file and nothing else: no server, and none of the formats that lead to other files,
unless the caller allows it. `Scene` reads windows of it. On the file's own pixels that is a plain read of the
strips or tiles which the window touches; on any other grid GDAL warps just the window (the mean of the pixels
below where the grid is coarser than the file by half or more, else bilinear; nearest for palettes). Memory is
bounded by a window and GDAL's cache, whatever the size of the raster.

A pixel is valid if any of the bands that are read has data there: no nodata value, an alpha or mask above
zero, and a finite number in all of them.

Shapes: B bands, H height, W width of a window.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsunivlm.geo.bands import PERCENTILES, Stretch, choose_bands, read_percentiles
from rsunivlm.geo.grid import Grid, coarsening, shift
from rsunivlm.inference.tiling import Window

# Formats that hold their own pixels. Left to guess, GDAL would also follow virtual rasters and service
# descriptions to other files and to servers.
DRIVERS = ("GTiff", "PNG", "JPEG", "JP2OpenJPEG", "HFA", "ENVI", "BMP", "WEBP")
# GDAL's cache of decoded blocks; by default 5 % of the machine's memory.
CACHE_BYTES = 192 << 20
# The stretch is measured on about this many pixels a side, in this many pieces a side: a damaged piece is
# left out.
_SAMPLED_SIDE, _PIECES = 1024, 8
# A grid this much coarser than the file is read as the mean of what lies below a pixel.
_AVERAGED = 1.5
# Stands for "no CRS" where GDAL insists on one.
_PLAIN_CRS = 'LOCAL_CS["pixels",UNIT["metre",1]]'


class UnreadableWindowError(ValueError):
    """A window whose pixels are damaged."""


@contextmanager
def gdal_settings() -> Iterator[None]:
    """GDAL with a bounded cache, and without warnings about rasters that have no position."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


@contextmanager
def open_source(path: str | Path, *, allow_remote: bool = False) -> Iterator[Any]:
    """Open a raster; gives a `rasterio.DatasetReader`.

    Args:
        path: a file; with `allow_remote` anything that GDAL opens.
        allow_remote: follow URLs, GDAL's virtual file systems and virtual rasters.

    Raises:
        ValueError: the file is missing, no raster, or leads elsewhere.
    """
    name = str(path)
    if not allow_remote:
        if "://" in name or name.startswith("/vsi"):
            raise ValueError(f"{name} is no local file; --allow-remote opens URLs and GDAL's /vsi paths")
        if not Path(name).is_file():
            raise ValueError(f"no such raster: {name}")
    with _opened(name, [None] if allow_remote else DRIVERS) as dataset:
        yield dataset


def _opened(name: str, drivers: Sequence[str | None]) -> Any:
    import rasterio
    from rasterio.errors import RasterioError

    reasons = []
    for driver in drivers:
        try:
            return rasterio.open(name, driver=driver)
        except RasterioError as error:
            reasons.append(str(error))
    # A format that knows the file, but cannot open it, says more than those that do not know it.
    known = [reason for reason in reasons if "not recognized" not in reason]
    hint = "" if known or None in drivers else f" (formats: {', '.join(DRIVERS)}; others need --allow-remote)"
    raise ValueError(f"not a readable raster: {name}: {(known or reasons)[0]}{hint}")


def native_grid(dataset: Any) -> Grid:
    """The pixels of an open raster."""
    return Grid(dataset.width, dataset.height, dataset.transform, dataset.crs)


class Scene:
    """An open raster, read as 8-bit red, green and blue on a grid.

    Attributes:
        name: of the file, for messages and reports.
        bands: numbers (from 1) of the bands that are read.
        stretch: of the whole scene; None where 8-bit values are taken as they are.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        bands: list[int] | None = None,
        stretch: str = "auto",
        nodata: float | None = None,
    ) -> None:
        """Choose bands and measure the stretch.

        Args:
            dataset: from `open_source`.
            bands: as `--bands`; None chooses.
            stretch: as `--stretch`: "auto" stretches all but 8-bit rasters.
            nodata: value of pixels without data, instead of what the file says.

        Raises:
            ValueError: the bands do not exist, differ in type, or hold no real numbers.
        """
        self.name = Path(dataset.name).name
        self._dataset, self._nodata = dataset, nodata
        colours = [colour.name for colour in dataset.colorinterp]
        self.bands = choose_bands(dataset.count, colours, bands, self.name)
        types = {np.dtype(dataset.dtypes[band - 1]) for band in self.bands}
        if any(kind.kind not in "uif" for kind in types):
            raise ValueError(f"{self.name} holds complex numbers; the model looks at real ones")
        self._palette = self._colours(dataset) if bands is None and colours[0] == "palette" else None
        self._floats = any(kind.kind == "f" for kind in types)
        if stretch == "auto":
            percentiles = None if types == {np.dtype(np.uint8)} else PERCENTILES
        else:
            percentiles = read_percentiles(stretch)
            if percentiles is None and types != {np.dtype(np.uint8)}:
                raise ValueError(f"{self.name} is not made of 8-bit bands: --stretch none is not possible")
        self.stretch = Stretch.of(self._samples(), percentiles) if percentiles else None
        self._grid, self._offset, self._reader = native_grid(dataset), (0, 0), dataset

    @contextmanager
    def on(self, grid: Grid) -> Iterator[None]:
        """Within the context, windows are those of `grid`."""
        from rasterio.crs import CRS
        from rasterio.enums import ColorInterp, Resampling
        from rasterio.vrt import WarpedVRT

        native = native_grid(self._dataset)
        offset = shift(grid, native)
        with ExitStack() as stack:
            if offset is None:
                coarser = coarsening(grid, native) > _AVERAGED
                smooth = Resampling.average if coarser else Resampling.bilinear
                plain = CRS.from_wkt(_PLAIN_CRS)
                warped = WarpedVRT(
                    self._dataset,
                    src_crs=native.crs or plain,
                    crs=grid.crs or plain,
                    transform=grid.transform,
                    width=grid.width,
                    height=grid.height,
                    resampling=smooth if self._palette is None else Resampling.nearest,
                    src_nodata=self._dataset.nodata if self._nodata is None else self._nodata,
                    add_alpha=ColorInterp.alpha not in self._dataset.colorinterp,
                    warp_mem_limit=64,
                    UNIFIED_SRC_NODATA="YES",  # nodata in one band alone is a dark pixel, not a missing one
                )
                self._reader = stack.enter_context(warped)
            self._grid, self._offset = grid, offset or (0, 0)
            yield
        self._grid, self._offset, self._reader = native, (0, 0), self._dataset

    def read(self, window: Window) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """A picture [H, W, 3] that is black where it has no data, and where it has data [H, W].

        Raises:
            UnreadableWindowError: the pixels are damaged; the message says what GDAL says.
        """
        from rasterio.errors import RasterioError
        from rasterio.windows import Window as RasterioWindow

        x, y = self._offset[0] + window.x, self._offset[1] + window.y
        area = RasterioWindow(x, y, window.width, window.height)
        try:
            values_BHW, valid_HW = self._values(self._reader, window=area)
        except RasterioError as error:
            cause = error.__cause__ or error
            raise UnreadableWindowError(f"{self.name}: {cause}") from error
        if self._palette is not None:
            picture = self._palette[values_BHW[0]]
        else:
            bytes_BHW = values_BHW if self.stretch is None else self.stretch.apply(values_BHW)
            picture = np.moveaxis(np.broadcast_to(bytes_BHW, (3, *valid_HW.shape)), 0, -1)
        return np.where(valid_HW[..., None], picture, np.uint8(0)), valid_HW

    def _values(self, reader: Any, **where: Any) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        values_BHW = reader.read(self.bands, **where)
        if self._nodata is not None and reader is self._dataset:
            valid_HW = (values_BHW != self._nodata).any(axis=0)
        else:  # a warped raster has an alpha band that knows about nodata
            valid_HW = reader.read_masks(self.bands, **where).any(axis=0)
        if self._floats:
            valid_HW &= np.isfinite(values_BHW).all(axis=0)
        return values_BHW, valid_HW

    def _samples(self) -> NDArray[Any]:
        """Valid values [B, N] of the whole scene, thinned out; from overviews where there are any."""
        from rasterio.errors import RasterioError
        from rasterio.windows import Window as RasterioWindow

        columns, rows = (
            np.unique(np.linspace(0, side, _PIECES + 1).astype(int))
            for side in (self._dataset.width, self._dataset.height)
        )
        found, damage = [], None
        for top, bottom in pairwise(rows):
            for left, right in pairwise(columns):
                width, height = int(right - left), int(bottom - top)
                window = RasterioWindow(int(left), int(top), width, height)
                shape = (min(height, _SAMPLED_SIDE // _PIECES), min(width, _SAMPLED_SIDE // _PIECES))
                try:
                    values_BHW, valid_HW = self._values(
                        self._dataset, window=window, out_shape=(len(self.bands), *shape)
                    )
                except RasterioError as error:
                    damage = error
                    continue
                found.append(values_BHW[:, valid_HW])
        if not found:
            raise ValueError(f"{self.name}: no part of the raster can be read ({damage})")
        return np.concatenate(found, axis=1)

    def _colours(self, dataset: Any) -> NDArray[np.uint8]:
        """Red, green and blue [256, 3] of a palette's indices."""
        if dataset.dtypes[0] != "uint8":
            raise ValueError(f"{self.name} has a palette of more than 8 bits; name its bands with --bands")
        table = np.zeros((256, 3), np.uint8)
        for index, colour in dataset.colormap(1).items():
            table[index] = colour[:3]
        return table
