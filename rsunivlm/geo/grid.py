"""Where pixels lie on earth: the grid of a raster, finer or coarser grids over it, ways between grids.

Tiles, masks and boxes all live in pixels of one *working grid*: the scene's own pixels, or pixels of another
size over the same ground (`--gsd`), or the part of them that a second raster covers. A pixel's column and row
become coordinates through the grid's affine transform, which may rotate and shear: a box is therefore four
corners, not two.

Without a coordinate reference system (CRS), coordinates are what the transform gives, which for a plain
picture is the pixels themselves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsunivlm.inference.tiling import Window

Points = NDArray[np.float64]

# Points along each side of a raster when its outline is carried into another CRS, where sides are curved.
_OUTLINE_POINTS = 22
# Grids are one another's neighbours to the pixel if they drift apart by less than this over their length.
_ALIGNED = 0.01


@dataclass(frozen=True)
class Grid:
    """The pixels of a raster.

    Attributes:
        width: in pixels.
        height: in pixels.
        transform: `affine.Affine` from (column, row) of a pixel's upper left corner to coordinates.
        crs: `rasterio.crs.CRS` of the coordinates, or None.
    """

    width: int
    height: int
    transform: Any
    crs: Any

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.width, self.height

    def part(self, window: Window) -> Grid:
        """The grid of a rectangle of this one."""
        return self._moved(window.width, window.height, (window.x, window.y), (1, 1))

    def coordinates(self, pixels: Points) -> Points:
        """Coordinates [..., 2] of points [..., 2] given as column and row."""
        column, row = pixels[..., 0], pixels[..., 1]
        t = self.transform
        return np.stack([t.a * column + t.b * row + t.c, t.d * column + t.e * row + t.f], axis=-1)

    def pixels(self, coordinates: Points) -> Points:
        """Columns and rows [..., 2] of coordinates [..., 2]."""
        return Grid(self.width, self.height, ~self.transform, None).coordinates(coordinates)

    def outline(self) -> Points:
        """Points [N, 2] along the border, in pixels."""
        along = np.linspace(0, 1, _OUTLINE_POINTS)
        zero, one = np.zeros_like(along), np.ones_like(along)
        sides = [(along, zero), (one, along), (along, one), (zero, along)]
        return np.concatenate([np.stack(side, axis=-1) for side in sides]) * np.array(self.size, float)

    def pixel_metres(self) -> tuple[float, float] | None:
        """Width and height of the pixel in the middle of the grid in metres; None without a CRS."""
        if self.crs is None:
            return None
        middle = np.array(self.size) / 2
        ends = self.coordinates(middle + np.array([[0, 0], [1, 0], [0, 1]]))
        if self.crs.is_projected:
            metres = float(self.crs.linear_units_factor[1])
            across, down = (math.dist(ends[0], end) * metres for end in ends[1:])
            return across, down
        from pyproj import CRS

        geod = CRS.from_wkt(self.crs.to_wkt()).get_geod()
        across, down = (geod.inv(*ends[0], *end)[2] for end in ends[1:])
        return across, down

    def resampled(self, gsd: float) -> Grid:
        """The grid over the same ground whose pixels are `gsd` metres wide and high.

        Raises:
            ValueError: there is no CRS, so that the size of a pixel is not known.
        """
        metres = self.pixel_metres()
        if metres is None:
            raise ValueError(
                "--gsd needs a raster with a CRS, else the size of its pixels is not known "
                "(gdal_edit.py -a_srs EPSG:... gives it one)"
            )
        width = max(1, round(self.width * metres[0] / gsd))
        height = max(1, round(self.height * metres[1] / gsd))
        return self._moved(width, height, (0, 0), (self.width / width, self.height / height))

    def _moved(self, width: int, height: int, origin: tuple[int, int], scale: tuple[float, float]) -> Grid:
        """A grid that begins at a pixel of this one, with pixels `scale` times as wide and high."""
        t, (left, top) = self.transform, self.coordinates(np.array(origin, float)).tolist()
        scaled = (t.a * scale[0], t.b * scale[1], left, t.d * scale[0], t.e * scale[1], top)
        return Grid(width, height, type(t)(*scaled), self.crs)


def between(source: Grid, target: Grid, pixels: Points) -> Points:
    """Pixels [N, 2] of one grid as pixels of another; not a number where a projection does not reach."""
    coordinates = source.coordinates(pixels)
    if source.crs != target.crs:
        from pyproj import Transformer

        way = Transformer.from_crs(source.crs.to_wkt(), target.crs.to_wkt(), always_xy=True)
        reached = np.stack(way.transform(*coordinates.T), axis=-1)
        coordinates = np.where(np.isfinite(reached), reached, np.nan)
    return target.pixels(coordinates)


def common_part(first: Grid, second: Grid) -> Window | None:
    """The rectangle of the first grid that holds what both cover; None if they do not meet."""
    reached = between(second, first, second.outline())
    reached = reached[np.isfinite(reached).all(axis=1)]
    if not len(reached):
        return None
    # A hair of rounding must not add a row of pixels that the second raster does not have.
    low = np.clip(np.floor(reached.min(axis=0) + _ALIGNED), 0, first.size).astype(int)
    high = np.clip(np.ceil(reached.max(axis=0) - _ALIGNED), 0, first.size).astype(int)
    if (high <= low).any():
        return None
    return Window(int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1]))


def shift(grid: Grid, native: Grid) -> tuple[int, int] | None:
    """Column and row of the native grid where `grid` begins, if its pixels are the very same; else None."""
    if grid.crs != native.crs:
        return None
    corners = np.array([[0, 0], [grid.width, 0], [0, grid.height]], float)
    moved = native.pixels(grid.coordinates(corners)) - corners
    whole = np.round(moved[0])
    if np.abs(moved - whole).max() > _ALIGNED:
        return None
    return int(whole[0]), int(whole[1])


def coarsening(grid: Grid, native: Grid) -> float:
    """How many native pixels long a pixel of `grid` is, in the middle of `grid`."""
    middle = np.array(grid.size) / 2
    ends = between(grid, native, middle + np.array([[0, 0], [1, 0], [0, 1]]))
    return max(math.dist(ends[0], ends[1]), math.dist(ends[0], ends[2]))
