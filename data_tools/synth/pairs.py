"""Before/after pairs of one place: real changes on the ground under changed light, season and registration.

A pair is one list of items of which each carries the time it exists ("both", "before", "after"). Houses and
roads appear, houses disappear, woods are cleared, or nothing happens; cars come and go in every pair and the
second picture is shifted by up to a pixel, which no label counts as a change. The change mask is drawn from
the outlines of the buildings that exist in only one of the two pictures, each where its picture shows it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random

import numpy as np
from PIL import Image

from data_tools.synth.geometry import blob, bounds, box_area, clip_box
from data_tools.synth.items import Item, in_drawing_order
from data_tools.synth.layouts_nature import farmland
from data_tools.synth.layouts_town import house_rows
from data_tools.synth.outlines import outlines
from data_tools.synth.painter import LabelPainter
from data_tools.synth.scene import label_map, random_stream, render
from data_tools.synth.site import Site
from data_tools.synth.style import Style, draw_style, revisit

CHANGES = ("none", "houses", "houses and road", "road", "demolition")
_CHANGE_WEIGHT = (0.38, 0.3, 0.2, 0.04, 0.08)
GROUNDS = ("bareland", "forest", "meadow", "farmland")
MAX_SHIFT = 0.006


@dataclass(frozen=True)
class Pair:
    """Two pictures of one place.

    Attributes:
        change: one of ``CHANGES``.
        ground: what the change happens on, one of ``GROUNDS``.
        before: items of the first picture, in drawing order.
        after: items of the second picture, already shifted by the registration error.
        changed: outlines (unit coordinates) of buildings that exist in one picture only.
        houses: how many buildings changed.
        has_road: whether a road exists in both pictures.
        where: "upper left", ..., or "" when the change is not confined to a corner.
    """

    change: str
    ground: str
    before: tuple[Item, ...]
    after: tuple[Item, ...]
    changed: tuple[Item, ...]
    styles: tuple[Style, Style]
    size: int
    has_road: bool
    where: str

    @property
    def houses(self) -> int:
        """How many buildings appeared or disappeared."""
        return len(self.changed)

    @cached_property
    def pictures(self) -> tuple[Image.Image, Image.Image]:
        """The two pictures, RGB, size x size."""
        first, second = self.styles
        return render(self.before, first, self.size), render(self.after, second, self.size)

    @cached_property
    def change_mask(self) -> np.ndarray:
        """Pixels of changed buildings (size, size) uint8: 1 changed, 0 not."""
        painter = LabelPainter(self.size)
        for item in self.changed:
            for polygon in outlines(item):
                painter.fill(polygon, 1)
        return painter.reduced()

    @cached_property
    def labels(self) -> tuple[np.ndarray, np.ndarray]:
        """Pixel labels of both pictures."""
        return label_map(self.before, self.size), label_map(self.after, self.size)


def shifted(item: Item, dx: float, dy: float) -> Item:
    """Return ``item`` moved by (dx, dy)."""
    points = tuple((x + dx, y + dy) for x, y in item.points)
    return replace(item, x=item.x + dx, y=item.y + dy, points=points)


class _Plan:
    """A site whose items are sorted into the times at which they exist."""

    def __init__(self, rng: Random):
        self.rng = rng
        self.site = Site(rng)
        self.when: list[str] = []

    def mark(self, when: str) -> None:
        """Give ``when`` to everything added since the last call."""
        self.when += [when] * (len(self.site.items) - len(self.when))

    def existing(self, *times: str) -> list[Item]:
        """Return the items that exist at one of ``times``."""
        return [item for item, when in zip(self.site.items, self.when, strict=True) if when in times]


def make_pair(
    seed: int,
    index: int,
    size: int = 160,
    split: str = "train",
    change: str | None = None,
    shift: bool = True,
) -> Pair:
    """Compose pair ``index`` of the collection ``seed``; the arguments are those of ``make_scene``.

    ``change`` asks for one of ``CHANGES`` (the pair says what there was room for); ``shift`` False leaves out
    the registration error.

    Raises:
        ValueError: ``change`` is not one of ``CHANGES``.
    """
    if change is not None and change not in CHANGES:
        raise ValueError(f"unknown change {change!r}; choose from {', '.join(CHANGES)}")
    rng = random_stream(split, seed, index, "pair")
    drawn = rng.choices(CHANGES, _CHANGE_WEIGHT)[0]
    change = change or drawn
    ground = rng.choices(GROUNDS, (0.34, 0.3, 0.26, 0.1))[0]
    plan = _Plan(rng)
    _lay_ground(plan, ground)
    road = _lay_old_town(plan, ground)
    _apply(plan, change, ground, road)
    changed = [item for item in plan.existing("before", "after") if item.kind == "building"]
    _lay_passing(plan, ground, road)
    first = draw_style(random_stream(split, seed, index, "style"))
    second = revisit(first, random_stream(split, seed, index, "later style"))
    dx, dy = (rng.uniform(-MAX_SHIFT, MAX_SHIFT) if shift else 0.0 for _ in range(2))
    late = {id(item) for item in plan.existing("after", "car after")}
    after = in_drawing_order(shifted(item, dx, dy) for item in plan.existing("both", "after", "car after"))
    return Pair(
        change=_what_changed(plan),
        ground=ground,
        before=in_drawing_order(plan.existing("both", "before", "car before")),
        after=after,
        changed=tuple(shifted(item, dx, dy) if id(item) in late else item for item in changed),
        styles=(first, second),
        size=size,
        has_road=road is not None,
        where=_corner(changed),
    )


def _lay_ground(plan: _Plan, ground: str) -> None:
    site, rng = plan.site, plan.rng
    if ground == "bareland":
        site.ground("bare", tone=site.tone(0.2))
        for _ in range(rng.randint(0, 2)):
            site.area(blob(rng, *site.spot(0), rng.uniform(0.1, 0.3)), rng.choice(("sand", "dry grass")))
    elif ground == "forest":
        texture = rng.choice(("canopy", "canopy fine", "canopy coarse"))
        site.ground("woods", variant=texture, tone=site.tone(0.2), label="woodland")
    elif ground == "meadow":
        site.ground(rng.choice(("grass", "lawn", "dry grass")), tone=site.tone(0.2))
    else:
        farmland(site)
        kept = [item for item in site.items if item.kind == "area"]
        site.items[:], site.taken[:] = kept, []
    plan.mark("both")


def _lay_old_town(plan: _Plan, ground: str) -> list[tuple[float, float]] | None:
    """Lay what exists at both times: perhaps a road, with perhaps some houses; return the road's course."""
    site, rng = plan.site, plan.rng
    road = None
    if rng.random() < 0.7:
        road = site.straight(*site.along(0.5, 0.5, 0, rng.uniform(-0.3, 0.3)), site.grid)
        width = rng.uniform(0.045, 0.075)
        site.road(road, width, variant=rng.choice(("", "marked", "kerb")))
        if rng.random() < 0.5:
            before = len(site.items)
            house_rows(
                site, [(road, width)], (0.1, 0.16), spacing=0.05, fill=rng.uniform(0.1, 0.4), visible=0.6
            )
            _clear_under(plan, before, ground)
    plan.mark("both")
    return road


def _clear_under(plan: _Plan, start: int, ground: str) -> None:
    """In woods, put a cleared plot under each house added since item ``start``."""
    site, rng = plan.site, plan.rng
    if ground != "forest":
        return
    material = rng.choice(("bare", "lawn", "dry grass"))
    for house in site.items[start:]:
        plot = blob(rng, house.x, house.y, 0.75 * house.length, roughness=0.12)
        site.area(plot, material, tone=site.tone())


def _apply(plan: _Plan, change: str, ground: str, road: list[tuple[float, float]] | None) -> None:
    """Add what appears or disappears, as far as there is room for it."""
    site, rng = plan.site, plan.rng
    when = "before" if change == "demolition" else "after"
    if change in ("houses", "demolition"):
        start = len(site.items)
        _scatter_houses(site, rng.choice((1, 1, 2, 2, 3, 4, 6)), road is not None)
        _clear_under(plan, start, ground)
    elif change in ("houses and road", "road"):
        course = _new_course(site, road)
        if course is not None:
            width = rng.uniform(0.045, 0.07)
            site.road(course, width, variant=rng.choice(("", "marked", "kerb")))
            start = len(site.items)
            if change == "houses and road":
                house_rows(site, [(course, width)], (0.1, 0.15), spacing=0.03, fill=0.85, visible=0.7)
            _clear_under(plan, start, ground)
    plan.mark(when)


def _what_changed(plan: _Plan) -> str:
    """Return the change that there was room for."""
    gone = plan.existing("before")
    new = plan.existing("after")
    houses = any(item.kind == "building" for item in new)
    if any(item.kind == "building" for item in gone):
        return "demolition"
    if any(item.kind == "road" for item in new):
        return "houses and road" if houses else "road"
    return "houses" if houses else "none"


def _scatter_houses(site: Site, count: int, beside_road: bool) -> None:
    """Add up to ``count`` houses, often all of them in one corner of a place without a road."""
    rng = site.rng
    size = rng.uniform(0.1, 0.22)
    corners = ((0.2, 0.2), (0.8, 0.2), (0.2, 0.8), (0.8, 0.8))
    corner = rng.choice(corners) if rng.random() < (0.4 if beside_road else 0.65) else None
    for _ in range(60):
        if count <= 0:
            return
        if corner is not None and count <= 3:
            x, y = corner[0] + rng.uniform(-0.13, 0.13), corner[1] + rng.uniform(-0.13, 0.13)
        else:
            x, y = site.spot(0.1)
        length = size * rng.uniform(0.85, 1.15)
        house = site.building(x, y, length, length * rng.uniform(0.6, 0.95), site.grid)
        count -= site.try_add(house, gap=0.015, visible=0.8)


def _new_course(site: Site, road: list[tuple[float, float]] | None) -> list[tuple[float, float]] | None:
    """Return a straight course for a new road that leads over no house, or None if there is none."""
    rng = site.rng
    houses = [item for item in site.items if item.kind == "building"]
    angle = site.grid + math.pi / 2 if road is not None else rng.uniform(0, math.pi)
    for _ in range(8):
        x, y = site.along(0.5, 0.5, rng.uniform(-0.3, 0.3), 0)
        course = site.straight(x, y, angle)
        if not any(_near_line(item, course, 0.07) for item in houses):
            return course
    return None


def _near_line(item: Item, points: list[tuple[float, float]], width: float) -> bool:
    (ax, ay), (bx, by) = points[0], points[-1]
    length = math.hypot(bx - ax, by - ay)
    t = max(0.0, min(1.0, ((item.x - ax) * (bx - ax) + (item.y - ay) * (by - ay)) / length**2))
    distance = math.hypot(item.x - ax - t * (bx - ax), item.y - ay - t * (by - ay))
    return distance < width / 2 + 0.6 * item.length


def _lay_passing(plan: _Plan, ground: str, road: list[tuple[float, float]] | None) -> None:
    """Trees that stay, and cars that do not; neither is a change."""
    site, rng = plan.site, plan.rng
    if ground in ("meadow", "bareland", "farmland"):
        site.trees(rng.randint(0, 18))
    plan.mark("both")
    for when in ("car before", "car after"):
        if road is not None:
            site.cars_on(road, 0.05, 0.05, rng.randint(0, 2))
        plan.mark(when)


def _corner(changed: list[Item]) -> str:
    """Return the corner that holds every changed building, or ""."""
    if not changed:
        return ""
    boxes = [clip_box(bounds(point for part in outlines(item) for point in part)) for item in changed]
    boxes = [box for box in boxes if box_area(box) > 0]
    x1, y1 = min(box[0] for box in boxes), min(box[1] for box in boxes)
    x2, y2 = max(box[2] for box in boxes), max(box[3] for box in boxes)
    column = "left" if x2 < 0.45 else "right" if x1 > 0.55 else ""
    row = "upper" if y2 < 0.45 else "lower" if y1 > 0.55 else ""
    return f"{row} {column}" if row and column else ""
