"""Placing items without collisions: the workbench on which the layouts build a scene.

A ``Site`` collects items and remembers which ground is taken, as convex polygons. Layouts ask it for free
places, rows of houses, cars in parking bays, trees; every random decision comes from the site's own
generator, so a scene is a function of its seed.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from random import Random

from data_tools.synth.geometry import (
    Box,
    Point,
    Polygon,
    blob,
    bounds,
    box_area,
    box_polygon,
    boxes_touch,
    clip_box,
    convex_overlap,
    place,
    rectangle,
)
from data_tools.synth.items import Item
from data_tools.synth.outlines import outlines

_ROOF_COLOURS = (("gray", 0.3), ("white", 0.24), ("red", 0.16), ("brown", 0.18), ("blue", 0.12))
_CAR_COLOURS = (
    ("white", 0.34),
    ("gray", 0.16),
    ("black", 0.18),
    ("red", 0.14),
    ("blue", 0.1),
    ("yellow", 0.08),
)


def weighted(rng: Random, table: tuple[tuple[str, float], ...]) -> str:
    """Draw a name from (name, weight) pairs."""
    return rng.choices([name for name, _ in table], [weight for _, weight in table])[0]


def ground_of(item: Item, gap: float = 0.0) -> Polygon:
    """Return the rectangle around a placed item along its own axes, widened by ``gap`` on every side."""
    width = item.length if item.kind in ("tree", "storage tank") else item.width
    return rectangle(item.x, item.y, item.length + 2 * gap, width + 2 * gap, item.angle)


class Site:
    """A scene under construction, in unit coordinates."""

    def __init__(self, rng: Random):
        self.rng = rng
        self.items: list[Item] = []
        self.taken: list[tuple[Box, Polygon]] = []
        self.grid = rng.uniform(0, math.pi)
        if rng.random() < 0.3:
            self.grid = rng.choice((0.0, math.pi / 2)) + rng.gauss(0, 0.03)

    def seed(self) -> int:
        """Return a fresh seed for an item's own detail."""
        return self.rng.randrange(1 << 24)

    def tone(self, spread: float = 0.12) -> float:
        """Return a brightness factor around 1."""
        return self.rng.uniform(1 - spread, 1 + spread)

    def box(self, item: Item) -> Box:
        """Return the uncut bounding box of an item."""
        return bounds(point for part in outlines(item) for point in part)

    def claim(self, polygon: Polygon) -> None:
        """Take the ground of a convex polygon."""
        self.taken.append((bounds(polygon), polygon))

    def is_free(self, polygon: Polygon) -> bool:
        """Whether a convex polygon overlaps nothing that is taken."""
        box = bounds(polygon)
        return not any(
            boxes_touch(box, other) and convex_overlap(polygon, shape) for other, shape in self.taken
        )

    def has_room(self, item: Item, gap: float = 0.012) -> bool:
        """Whether an item keeps ``gap`` from everything taken (a negative gap allows some overlap)."""
        return self.is_free(ground_of(item, gap))

    def visible(self, item: Item) -> float:
        """Return the share of an item's box inside the image."""
        box = self.box(item)
        return box_area(clip_box(box)) / box_area(box)

    def add(self, item: Item, *, claim: bool = True) -> Item:
        """Append ``item`` (with a seed of its own) and, if ``claim``, take the ground under it."""
        item = replace(item, seed=item.seed or self.seed() + 1)
        self.items.append(item)
        if claim:
            self.claim(ground_of(item))
        return item

    def try_add(self, item: Item, *, gap: float = 0.012, visible: float = 0.85) -> bool:
        """Append ``item`` if it is mostly inside the image and touches nothing taken."""
        if self.visible(item) < visible or not self.has_room(item, gap):
            return False
        self.add(item)
        return True

    def area(self, points: list[Point], material: str, **fields: object) -> Item:
        """Append a piece of ground; nothing is taken."""
        return self.add(Item("area", points=tuple(points), material=material, **fields), claim=False)  # type: ignore[arg-type]

    def ground(self, material: str, **fields: object) -> Item:
        """Cover the whole image with ``material``."""
        return self.area(rectangle(0.5, 0.5, 1.02, 1.02, 0.0), material, **fields)

    def stains(self, materials: tuple[str, ...], count: int) -> None:
        """Blend ``count`` soft patches of other ground into what is there; labels do not change."""
        for _ in range(count):
            outline = blob(self.rng, *self.spot(-0.1), self.rng.uniform(0.06, 0.3))
            material = self.rng.choice(materials)
            softness = self.rng.uniform(0.01, 0.05)
            stain = Item("patch", points=tuple(outline), material=material, width=softness, tone=self.tone())
            self.add(stain, claim=False)

    def spot(self, margin: float = 0.08) -> Point:
        """Return a random point at least ``margin`` from the border."""
        return self.rng.uniform(margin, 1 - margin), self.rng.uniform(margin, 1 - margin)

    def along(self, x: float, y: float, forward: float, sideways: float, angle: float | None = None) -> Point:
        """Return (x, y) moved along ``angle`` (default: the site's grid) and ``sideways`` across it."""
        return place(((forward, sideways),), x, y, self.grid if angle is None else angle)[0]

    def road(
        self, points: list[Point], width: float, *, material: str = "asphalt", variant: str = ""
    ) -> Item:
        """Append a road and take the ground of it."""
        road = Item(
            "road", points=tuple(points), width=width, material=material, variant=variant, label="road"
        )
        road = self.add(replace(road, tone=self.tone()), claim=False)
        self.claim_band(points, width)
        return road

    def claim_band(self, points: list[Point], width: float) -> None:
        """Take the ground of a band along a polyline."""
        for (ax, ay), (bx, by) in pairwise(points):
            length, angle = math.hypot(bx - ax, by - ay), math.atan2(by - ay, bx - ax)
            self.claim(rectangle((ax + bx) / 2, (ay + by) / 2, length + 0.3 * width, width, angle))

    def straight(self, x: float, y: float, angle: float) -> list[Point]:
        """Return a line through (x, y) that crosses the whole image."""
        return [self.along(x, y, -1.5, 0, angle), self.along(x, y, 1.5, 0, angle)]

    def building(
        self, x: float, y: float, length: float, width: float, angle: float, **fields: object
    ) -> Item:
        """Return a building item with random roof (not yet added)."""
        rng = self.rng
        variant = rng.choices(("gable", "hip", "flat", "ell"), (0.3, 0.25, 0.28, 0.17))[0]
        base = Item(
            "building",
            x=x,
            y=y,
            length=length,
            width=width,
            angle=angle,
            colour=weighted(rng, _ROOF_COLOURS),
            variant=variant,
            height=rng.uniform(0.25, 0.5) * min(length, width),
            tone=self.tone(),
            label="building",
            category="building",
        )
        return replace(base, **fields)  # type: ignore[arg-type]

    def vehicle(self, x: float, y: float, length: float, angle: float) -> Item:
        """Return a car or truck (not yet added)."""
        rng = self.rng
        truck = rng.random() < 0.1
        colour = weighted(rng, _CAR_COLOURS)
        return Item(
            "vehicle",
            x=x,
            y=y,
            length=length * (1.7 if truck else rng.uniform(0.92, 1.08)),
            width=length * rng.uniform(0.42, 0.48),
            angle=angle + (math.pi if rng.random() < 0.5 else 0.0),
            colour=colour,
            variant="truck" if truck else "",
            tone=self.tone(0.08),
            label="vehicle",
            category="vehicle",
        )

    def cars_on(self, points: list[Point], road_width: float, length: float, count: int) -> None:
        """Put up to ``count`` cars on the lanes of a polyline road."""
        for _ in range(count):
            i = self.rng.randrange(len(points) - 1)
            (ax, ay), (bx, by) = points[i], points[i + 1]
            t, angle = self.rng.random(), math.atan2(by - ay, bx - ax)
            side = self.rng.choice((-0.25, 0.25)) * road_width
            x, y = place(((0, side),), ax + (bx - ax) * t, ay + (by - ay) * t, angle)[0]
            self.park(self.vehicle(x, y, length, angle + self.rng.gauss(0, 0.04)))

    def park(self, car: Item) -> None:
        """Add a car if no other car is in its place (roads and parking lots do not count as taken)."""
        ground = ground_of(car, 0.004)
        cars = (ground_of(item) for item in self.items if item.kind == "vehicle")
        if self.visible(car) >= 0.85 and not any(convex_overlap(ground, other) for other in cars):
            self.add(car)

    def trees(self, count: int, low: float = 0.03, high: float = 0.07) -> None:
        """Scatter single trees over free ground."""
        for _ in range(count):
            x, y = self.rng.uniform(-0.02, 1.02), self.rng.uniform(-0.02, 1.02)
            self.tree(x, y, self.rng.uniform(low, high))

    def tree(self, x: float, y: float, size: float) -> None:
        """Add one tree if the ground under it is free; trees may touch trees."""
        tree = Item("tree", x=x, y=y, length=size, tone=self.tone(0.2), label="woodland")
        if self.is_free(box_polygon((x - size / 2, y - size / 2, x + size / 2, y + size / 2))):
            self.add(tree, claim=False)
