"""A class map of any size to polygons, strip by strip.

GDAL traces a whole raster well, but holds every polygon of it in memory. Here it traces strips; pieces of
one region in neighbouring strips are joined where they share a stretch of the border between them, and a
region is given out as soon as no piece of it reaches the next strip. The polygons are those of the whole map:
regions of one class whose pixels share sides (not just corners), holes and all. Memory is bounded by one
strip and the regions that are still growing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Pixels of a strip, and rows at the least.
_STRIP_PIXELS = 1 << 22

Region = tuple[Any, int]  # polygon in pixels, class id


def strip_rows(width: int) -> int:
    """Rows of a strip for a map of this width."""
    return max(16, _STRIP_PIXELS // width)


def polygons(
    read_rows: Callable[[int, int], NDArray[np.uint8]], height: int, rows: int, classes: int
) -> Iterator[Region]:
    """The regions of a class map as polygons in pixels (column to the right, row down).

    Args:
        read_rows: gives rows [from, to) of the map as [rows, width] class ids.
        height: of the map.
        rows: of a strip.
        classes: ids 1..classes are traced; 0 and those above are not.

    Yields:
        Polygon and class id, in the order in which regions end.
    """
    growing: list[_Growing] = []
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        pieces = _trace(read_rows(top, bottom), top, classes)
        growing = _joined(growing, pieces, top, bottom)
        for region in growing:
            if not region.open:
                yield region.polygon(), region.class_id
        growing = [region for region in growing if region.open]
        if bottom == height:
            yield from ((region.polygon(), region.class_id) for region in growing)


class _Growing:
    """A region that may go on in the next strip: its pieces, and where they meet that strip."""

    def __init__(self, class_id: int, pieces: list[Any]) -> None:
        self.class_id, self.pieces = class_id, pieces
        self.open: list[tuple[float, float]] = []

    def polygon(self) -> Any:
        """The pieces as one polygon, without the corners that the cuts left on straight sides."""
        import shapely

        if len(self.pieces) == 1:
            return self.pieces[0]
        return straightened(shapely.union_all(self.pieces))


def _trace(ids: NDArray[np.uint8], top: int, classes: int) -> list[_Growing]:
    import shapely.geometry
    from affine import Affine
    from rasterio.features import shapes

    wanted = (ids >= 1) & (ids <= classes)
    if not wanted.any():
        return []
    found = shapes(ids, mask=wanted, connectivity=4, transform=Affine.translation(0, top))
    return [_Growing(int(value), [shapely.geometry.shape(outline)]) for outline, value in found]


def _joined(above: list[_Growing], pieces: list[_Growing], top: int, bottom: int) -> list[_Growing]:
    """Regions after a strip: those from above and the strip's pieces, joined where they touch."""
    nodes = above + pieces
    parent = list(range(len(nodes)))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    # Where pieces of the two sides meet the border between them; sides of one class that overlap are one.
    upper = [(start, end, node) for node, region in enumerate(above) for start, end in region.open]
    lower = [
        (start, end, node)
        for node, region in enumerate(pieces, start=len(above))
        for start, end in _sides_on(region.pieces[0], top)
    ]
    for one, other in _overlapping(sorted(upper), sorted(lower)):
        if nodes[one].class_id == nodes[other].class_id:
            low, high = sorted((root(one), root(other)))
            parent[high] = low
    grouped: dict[int, _Growing] = {}
    for node, region in enumerate(nodes):
        whole = grouped.setdefault(root(node), _Growing(region.class_id, []))
        whole.pieces += region.pieces
        if node >= len(above):  # what came from above has met this strip, and ends there
            whole.open += _sides_on(region.pieces[0], bottom)
    return list(grouped.values())


def _sides_on(polygon: Any, row: int) -> list[tuple[float, float]]:
    """The stretches (from, to) of a piece's outline that lie on a row; holes never reach the border."""
    import shapely

    ring = shapely.get_coordinates(polygon.exterior)
    on = ring[:, 1] == row
    both = on[1:] & on[:-1]
    starts, ends = ring[:-1, 0][both], ring[1:, 0][both]
    return list(zip(np.minimum(starts, ends).tolist(), np.maximum(starts, ends).tolist(), strict=True))


def _overlapping(
    upper: list[tuple[float, float, int]], lower: list[tuple[float, float, int]]
) -> Iterator[tuple[int, int]]:
    """Pairs of nodes whose stretches, sorted and free of overlap on either side, share more than a point."""
    one = other = 0
    while one < len(upper) and other < len(lower):
        (start, end, node), (second_start, second_end, second_node) = upper[one], lower[other]
        if min(end, second_end) > max(start, second_start):
            yield node, second_node
        if end <= second_end:
            one += 1
        else:
            other += 1


def straightened(polygon: Any) -> Any:
    """The polygon without vertices in the middle of straight sides."""
    import shapely

    def corners(ring: Any) -> NDArray[np.float64]:
        points = shapely.get_coordinates(ring)[:-1]
        before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
        turning = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
        return points[turning]

    return shapely.Polygon(corners(polygon.exterior), [corners(hole) for hole in polygon.interiors])
