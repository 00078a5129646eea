"""One object, one box: non-maximum suppression of boxes that several tiles gave for the same thing.

Boxes of a language model carry no score. What tells a good box from its rivals is whether it is whole: a box
that touches a side of its tile where the scene goes on is likely to be half an object. So whole boxes come
first, larger ones before smaller ones, then those of earlier tiles; each box suppresses later ones of its
class with an intersection over union at the threshold or above. A cut box is also suppressed by a box that
covers so much of the cut box itself: half a ship is no second ship.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# A box ends at the side of its tile if it comes this near, in shares of the tile: boxes are written in
# hundredths of it.
TOUCHING = 0.01


def is_cut(
    boxes_px: NDArray[np.float64], tile: tuple[float, float, float, float], size: tuple[int, int]
) -> NDArray[np.bool_]:
    """Which boxes [K, 4] touch a side of their tile (x1, y1, x2, y2) that is no side of the scene."""
    x1, y1, x2, y2 = tile
    near = TOUCHING * np.array([x2 - x1, y2 - y1, x2 - x1, y2 - y1])
    inside = np.array([x1 > 0, y1 > 0, x2 < size[0], y2 < size[1]])
    return ((np.abs(boxes_px - np.array(tile)) <= near) & inside).any(axis=1)


def suppress(
    boxes_px: NDArray[np.float64],
    cut: NDArray[np.bool_],
    classes: NDArray[np.integer],
    threshold: float,
) -> NDArray[np.intp]:
    """Indices of the boxes that stay, in their order.

    Args:
        boxes_px: [K, 4] x1, y1, x2, y2 in pixels of the scene, in the order of the tiles.
        cut: [K] from `is_cut`.
        classes: [K] boxes of different classes leave one another alone.
        threshold: intersection over union, above 0.
    """
    import shapely

    areas = (boxes_px[:, 2] - boxes_px[:, 0]) * (boxes_px[:, 3] - boxes_px[:, 1])
    order = np.lexsort((np.arange(len(areas)), -areas, cut))
    rank = np.empty(len(order), int)
    rank[order] = np.arange(len(order))
    shapes = shapely.box(*boxes_px.T)
    near = shapely.STRtree(shapes)
    alive = np.ones(len(areas), bool)
    for box in order:
        if not alive[box]:
            continue
        rivals = near.query(shapes[box])
        rivals = rivals[alive[rivals] & (rank[rivals] > rank[box]) & (classes[rivals] == classes[box])]
        low = np.maximum(boxes_px[rivals, :2], boxes_px[box, :2])
        high = np.minimum(boxes_px[rivals, 2:], boxes_px[box, 2:])
        shared = np.clip(high - low, 0, None).prod(axis=1)
        same = shared >= threshold * (areas[rivals] + areas[box] - shared)
        alive[rivals[same | (cut[rivals] & (shared >= threshold * areas[rivals]))]] = False
    return np.flatnonzero(alive)
