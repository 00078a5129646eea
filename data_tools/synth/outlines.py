"""The exact footprint of every item, and from it the boxes of objects.

Pictures, label maps and boxes all come from these outlines, never from looking at pixels; that is what makes
the labels exact.
"""

from __future__ import annotations

import math

from data_tools.synth.geometry import (
    Point,
    Polygon,
    bounds,
    box_area,
    capsule,
    clip_polygon,
    ellipse,
    place,
    rectangle,
    ribbon,
)
from data_tools.synth.items import Item, SceneObject

# Local outlines: length along +x, unit length and width, centred on the origin.
_PLANE_PARTS: tuple[tuple[Point, ...], ...] = (
    (
        (0.5, 0.0),
        (0.46, 0.035),
        (0.36, 0.055),
        (-0.3, 0.05),
        (-0.5, 0.02),
        (-0.5, -0.02),
        (-0.3, -0.05),
        (0.36, -0.055),
        (0.46, -0.035),
    ),
    (
        (0.16, 0.04),
        (-0.14, 0.5),
        (-0.22, 0.5),
        (-0.08, 0.04),
        (-0.08, -0.04),
        (-0.22, -0.5),
        (-0.14, -0.5),
        (0.16, -0.04),
    ),
    (
        (-0.34, 0.03),
        (-0.44, 0.19),
        (-0.5, 0.19),
        (-0.46, 0.02),
        (-0.46, -0.02),
        (-0.5, -0.19),
        (-0.44, -0.19),
        (-0.34, -0.03),
    ),
)
_JET_PARTS: tuple[tuple[Point, ...], ...] = (
    ((0.5, 0.0), (0.3, 0.06), (-0.5, 0.08), (-0.5, -0.08), (0.3, -0.06)),
    (
        (0.2, 0.05),
        (-0.3, 0.5),
        (-0.42, 0.5),
        (-0.38, 0.05),
        (-0.38, -0.05),
        (-0.42, -0.5),
        (-0.3, -0.5),
        (0.2, -0.05),
    ),
)
_HULL: tuple[Point, ...] = (
    (0.5, 0.0),
    (0.42, 0.26),
    (0.3, 0.46),
    (0.1, 0.5),
    (-0.44, 0.5),
    (-0.5, 0.38),
    (-0.5, -0.38),
    (-0.44, -0.5),
    (0.1, -0.5),
    (0.3, -0.46),
    (0.42, -0.26),
)
# A quarter disc of unit radius behind home plate; an item's width is 1.4 times its length.
_INFIELD: tuple[Point, ...] = (
    (-0.5, 0.05),
    *((-0.5 + math.cos(t), math.sin(t) * 0.7) for t in (0.16 * step for step in range(5, -6, -1))),
    (-0.5, -0.05),
)
_ELL: tuple[Point, ...] = ((-0.5, -0.5), (0.5, -0.5), (0.5, -0.05), (-0.08, -0.05), (-0.08, 0.5), (-0.5, 0.5))
_CAR: tuple[Point, ...] = tuple(
    (sx * px, sy * py)
    for sx, sy, corner in (
        (1, 1, ((0.5, 0.3), (0.44, 0.46), (0.34, 0.5))),
        (-1, 1, ((0.4, 0.5), (0.48, 0.46), (0.5, 0.36))),
        (-1, -1, ((0.5, 0.36), (0.48, 0.46), (0.4, 0.5))),
        (1, -1, ((0.34, 0.5), (0.44, 0.46), (0.5, 0.3))),
    )
    for px, py in corner
)


def outlines(item: Item) -> list[Polygon]:
    """Return the polygons whose union is the item's footprint, in unit coordinates."""
    pose = (item.x, item.y, item.angle, item.length, item.width)
    if item.kind in ("area", "patch"):
        return [list(item.points)]
    if item.kind in ("road", "stream"):
        return [ribbon(item.points, item.width)]
    if item.kind == "airplane":
        parts = _JET_PARTS if item.variant == "jet" else _PLANE_PARTS
        return [place(part, *pose) for part in parts]
    if item.kind == "ship":
        return [place(_HULL, *pose)]
    if item.kind == "vehicle":
        return [place(_CAR, *pose)]
    if item.kind == "building" and item.variant == "ell":
        return [place(_ELL, *pose)]
    if item.kind == "baseball diamond":
        return [place(_INFIELD, *pose)]
    if item.kind == "ground track field":
        return [capsule(*pose[:2], item.length, item.width, item.angle)]
    if item.kind in ("storage tank", "tree"):
        return [
            ellipse(item.x, item.y, item.length, item.length, item.angle, 20 if item.kind == "tree" else 28)
        ]
    return [rectangle(item.x, item.y, item.length, item.width, item.angle)]


def harbor_parts(item: Item) -> list[Polygon]:
    """Return the walkway and the finger piers of a marina pier (the moored boats lie between the fingers)."""
    parts = [rectangle(item.x, item.y, item.length, 0.14 * item.width, item.angle)]
    count = max(2, round(item.length / (0.5 * item.width)))
    for step in range(count + 1):
        along = -0.5 + 0.04 + 0.92 * step / count
        x, y = place(((along, 0.0),), item.x, item.y, item.angle, item.length, 1.0)[0]
        parts.append(rectangle(x, y, item.width, 0.05 * item.width, item.angle + math.pi / 2))
    return parts


def object_of(item: Item, index: int) -> SceneObject | None:
    """Return what ``item`` is as an object, or None if it is none or lies outside the image."""
    if not item.category:
        return None
    parts = outlines(item)
    inside = [point for part in parts for point in clip_polygon(part)]
    if not inside:
        return None
    # The box of what is left, not what is left of the box: a turned object loses its far corners too.
    box = bounds(inside)
    whole = bounds(point for part in parts for point in part)
    return SceneObject(item.category, item.colour, box, box_area(box) / box_area(whole), index)
