"""How each kind of item is drawn: one routine per kind, registered by name in ``DRAW``.

A routine gets the painter and the item and draws shadow, footprint and detail. Detail stays inside the
footprint of ``items.outlines`` wherever the item is a referable object, so that boxes and masks are exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random

from data_tools.synth.geometry import Point, ellipse, place, rectangle
from data_tools.synth.items import Item
from data_tools.synth.outlines import outlines
from data_tools.synth.painter import Painter, shade
from data_tools.synth.structures import draw_building, draw_harbor, draw_tank
from data_tools.synth.textures import Colour

_TEXTURE = {
    "grass": "grass",
    "lawn": "grass",
    "dry grass": "grass",
    "woods": "canopy",
    "crop": "rows",
    "ripe crop": "rows",
    "ploughed": "rows",
    "bare": "soil",
    "sand": "soil",
    "asphalt": "grain",
    "concrete": "grain",
    "dirt": "soil",
    "gravel": "grain",
    "water": "water",
    "infield": "soil",
}
_ROW_PERIODS = (4, 5, 7, 10)


def _toned(ramp: tuple[Colour, Colour], tone: float) -> tuple[Colour, Colour]:
    return shade(ramp[0], tone), shade(ramp[1], tone)


def _draw_area(painter: Painter, item: Item) -> None:
    """A piece of ground. ``variant`` may name a texture other than the material's own."""
    ramp = _toned(painter.style.ramp(item.material), item.tone)
    texture = item.variant or _TEXTURE[item.material]
    polygon = outlines(item)[0]
    if item.material == "woods" and item.height:
        painter.shadow([polygon], item.height)
    painter.textured(
        polygon,
        texture,
        ramp,
        item.seed,
        row_angle=item.angle,
        row_period=_ROW_PERIODS[item.seed % len(_ROW_PERIODS)],
    )


def _draw_road(painter: Painter, item: Item) -> None:
    """A road of constant width; ``variant`` "marked" adds a centre line, "kerb" pale edges."""
    dark, light = _toned(painter.style.ramp(item.material), item.tone)
    middle = tuple((a + b) // 2 for a, b in zip(dark, light, strict=True))
    if item.variant in ("kerb", "marked"):
        painter.line(item.points, shade(light, 1.2), item.width * 1.18)
    painter.textured(outlines(item)[0], "grain", (dark, light), item.seed)
    if item.variant == "marked":
        paint = painter.paint_colour("white", 0.95)
        if item.width > 0.09:
            painter.line(item.points, shade((middle[0], middle[1], middle[2]), 0.8), 0.012)
        _dashes(painter, item.points, paint, max(0.003, item.width * 0.05))


def _dashes(painter: Painter, points: Sequence[Point], colour: Colour, width: float) -> None:
    """Draw a dashed centre line along a polyline."""
    for (ax, ay), (bx, by) in pairwise(points):
        steps = max(1, round(math.hypot(bx - ax, by - ay) / 0.05))
        for step in range(steps):
            t, u = step / steps, (step + 0.5) / steps
            dash = ((ax + (bx - ax) * t, ay + (by - ay) * t), (ax + (bx - ax) * u, ay + (by - ay) * u))
            painter.line(dash, colour, width)


def _draw_patch(painter: Painter, item: Item) -> None:
    """A stain on the ground without an edge: worn grass, damp soil, tyre dirt."""
    ramp = _toned(painter.style.ramp(item.material), item.tone)
    painter.textured(outlines(item)[0], _TEXTURE[item.material], ramp, item.seed, softness=item.width)


def _draw_stream(painter: Painter, item: Item) -> None:
    """Running water: a band with a pale bank."""
    bank = painter.style.ramp(item.accent or "dirt")
    painter.line(item.points, shade(bank[0], 1.1), item.width * 1.08)
    painter.textured(outlines(item)[0], "water", _toned(painter.style.ramp("water"), item.tone), item.seed)


def _draw_tree(painter: Painter, item: Item) -> None:
    """A single crown with its shadow, dark away from the sun and bright towards it."""
    crown = outlines(item)[0]
    painter.shadow([crown], item.length * 0.4)
    dark, light = _toned(painter.style.ramp("woods"), item.tone)
    painter.textured(crown, "canopy fine", (dark, light), item.seed)
    reach = -0.16 * item.length
    x = item.x + reach * math.cos(painter.style.sun)
    y = item.y + reach * math.sin(painter.style.sun)
    lit = tuple((2 * a + b) // 3 for a, b in zip(light, dark, strict=True))
    painter.flat(ellipse(x, y, 0.45 * item.length, 0.45 * item.length, 0, 8), (lit[0], lit[1], lit[2]))


def _draw_airplane(painter: Painter, item: Item) -> None:
    parts = outlines(item)
    dx, dy = painter.shadow_vector(0.07 * item.length)
    shadow = shade(painter.style.ramp("asphalt")[0], 0.5)
    for part in parts:
        painter.flat([(x + dx, y + dy) for x, y in part], shadow)
    body = painter.paint_colour(item.colour, item.tone)
    for part in parts[1:]:
        painter.flat(part, shade(body, 0.9))
    painter.flat(parts[0], body)
    pose = (item.x, item.y, item.angle, item.length, item.width)
    if item.variant != "jet":
        for px, py in (
            (0.1, 0.2),
            (0.1, -0.2),
            *(((0.0, 0.34), (0.0, -0.34)) if item.variant == "four" else ()),
        ):
            engine = place(
                ((px, py - 0.025), (px - 0.1, py - 0.025), (px - 0.1, py + 0.025), (px, py + 0.025)), *pose
            )
            painter.flat(engine, shade(body, 0.7))
    if item.accent:
        tail = place(((-0.34, 0.02), (-0.49, 0.025), (-0.49, -0.025), (-0.34, -0.02)), *pose)
        painter.flat(tail, painter.paint_colour(item.accent))
    spine = place(((0.44, 0.0), (-0.46, 0.0)), *pose)
    painter.line(spine, shade(body, 1.06), 0.012 * item.length)


def _draw_ship(painter: Painter, item: Item) -> None:
    """A hull with deck, superstructure and (for ``variant`` "cargo") hatches or containers."""
    rng = Random(item.seed)
    pose = (item.x, item.y, item.angle, item.length, item.width)
    if item.height:
        foam = shade(painter.style.ramp("water")[1], 1.5)
        tail = ((-0.5, -0.35), (-0.5 - item.height, -0.9), (-0.5 - item.height, 0.9), (-0.5, 0.35))
        painter.textured(place(tail, *pose), "waves", (painter.style.ramp("water")[1], foam), item.seed)
    painter.shadow([outlines(item)[0]], 0.25 * item.width)
    hull = painter.paint_colour(item.colour, item.tone)
    painter.flat(outlines(item)[0], hull)
    deck = place([(x * 0.92, y * 0.72) for x, y in _DECK], *pose)
    if item.variant == "yacht":
        painter.flat(deck, shade(hull, 0.9))
        cabin = place(((0.1, -0.25), (0.16, 0.0), (0.1, 0.25), (-0.3, 0.3), (-0.3, -0.3)), *pose)
        painter.flat(cabin, painter.paint_colour("white", 0.8 if item.colour == "white" else 1.0))
        return
    painter.flat(deck, shade(hull, 0.78))
    hatches = rng.randint(4, 7)
    names = ("red", "blue", "white", "gray", "green", "brown") if item.variant == "container" else ()
    for step in range(hatches):
        left = -0.22 + 0.58 * step / hatches
        for low, high in ((-0.33, -0.02), (0.02, 0.33)):
            colour = painter.paint_colour(rng.choice(names), 0.85) if names else shade(hull, 0.62)
            corners = ((left, low), (left + 0.48 / hatches, low), (left + 0.48 / hatches, high), (left, high))
            painter.flat(place(corners, *pose), colour)
    bridge = place(((-0.42, -0.36), (-0.28, -0.36), (-0.28, 0.36), (-0.42, 0.36)), *pose)
    painter.flat(bridge, painter.paint_colour("white"))


_DECK: tuple[Point, ...] = ((0.46, 0.0), (0.28, 0.44), (-0.44, 0.44), (-0.44, -0.44), (0.28, -0.44))


def _draw_vehicle(painter: Painter, item: Item) -> None:
    """A car (windscreen, roof, rear window) or, for ``variant`` "truck", a cab and a box."""
    outline = outlines(item)[0]
    painter.shadow([outline], 0.22 * item.width)
    body = painter.paint_colour(item.colour, item.tone)
    painter.flat(outline, body)
    pose = (item.x, item.y, item.angle, item.length, item.width)
    glass = painter.style.paint((30, 36, 44))
    if item.colour == "black":
        glass = painter.style.paint((84, 90, 98))
    if item.variant == "truck":
        gap = ((0.26, -0.5), (0.3, -0.5), (0.3, 0.5), (0.26, 0.5))
        painter.flat(place(gap, *pose), shade(body, 0.4))
        painter.flat(place(((0.36, -0.4), (0.42, -0.36), (0.42, 0.36), (0.36, 0.4)), *pose), glass)
        return
    screen = ((0.08, -0.38), (0.22, -0.4), (0.22, 0.4), (0.08, 0.38))
    rear = ((-0.36, -0.38), (-0.26, -0.34), (-0.26, 0.34), (-0.36, 0.38))
    painter.flat(place(screen, *pose), glass)
    painter.flat(place(rear, *pose), glass)
    painter.flat(
        place(((-0.24, -0.36), (0.06, -0.36), (0.06, 0.36), (-0.24, 0.36)), *pose), shade(body, 1.08)
    )


def _court_surface(painter: Painter, item: Item, inner_length: float, inner_width: float) -> None:
    painter.flat(outlines(item)[0], painter.paint_colour(item.colour, item.tone * 0.8))
    inner = rectangle(item.x, item.y, inner_length * item.length, inner_width * item.width, item.angle)
    painter.flat(inner, painter.paint_colour(item.accent or item.colour, item.tone * 0.95))


def _court_lines(painter: Painter, item: Item, lines: Sequence[Sequence[Point]]) -> None:
    pose = (item.x, item.y, item.angle, item.length, item.width)
    for points in lines:
        painter.line(place(points, *pose), painter.paint_colour("white", 0.95), 0.022 * item.width)


def _draw_tennis_court(painter: Painter, item: Item) -> None:
    _court_surface(painter, item, 0.66, 0.62)
    x, y, s = 0.33, 0.31, 0.235
    lines = [((-x, -y), (x, -y), (x, y), (-x, y), (-x, -y)), ((-x, -s), (x, -s)), ((-x, s), (x, s))]
    lines += [
        ((-0.18, -s), (-0.18, s)),
        ((0.18, -s), (0.18, s)),
        ((-0.18, 0), (0.18, 0)),
        ((0, -0.36), (0, 0.36)),
    ]
    _court_lines(painter, item, lines)


def _draw_basketball_court(painter: Painter, item: Item) -> None:
    _court_surface(painter, item, 0.88, 0.86)
    x, y = 0.44, 0.43
    lines: list[Sequence[Point]] = [((-x, -y), (x, -y), (x, y), (-x, y), (-x, -y)), ((0, -y), (0, y))]
    ratio = item.length / item.width
    lines.append([(0.12 / ratio * math.cos(t), 0.12 * math.sin(t)) for t in _TURNS])
    for side in (-1, 1):
        key = [(side * x, -0.14), (side * 0.25, -0.14), (side * 0.25, 0.14), (side * x, 0.14)]
        painter.flat(
            place(key, item.x, item.y, item.angle, item.length, item.width),
            painter.paint_colour(item.colour, item.tone * 0.7),
        )
        lines.append(key)
        lines.append([(side * (0.4 - 0.4 / ratio * math.cos(t)), 0.36 * math.sin(t)) for t in _HALF])
    _court_lines(painter, item, lines)


_TURNS = [2 * math.pi * step / 16 for step in range(17)]
_HALF = [math.pi * (step / 10 - 0.5) for step in range(11)]


def _draw_baseball_diamond(painter: Painter, item: Item) -> None:
    """Dirt infield with grass square, mound and base lines (the fan of outfield grass is its own item)."""
    painter.textured(outlines(item)[0], "soil", _toned(painter.style.ramp("infield"), item.tone), item.seed)
    side = 0.42 * item.length
    cx, cy = place(((-0.08, 0.0),), item.x, item.y, item.angle, item.length, item.width)[0]
    if item.variant != "skinned":
        grass = rectangle(cx, cy, side, side, item.angle + math.pi / 4)
        painter.textured(grass, "grass", painter.style.ramp("lawn"), item.seed + 1)
        painter.flat(
            ellipse(cx, cy, 0.09 * item.length, 0.09 * item.length, 0, 12), painter.style.ramp("infield")[1]
        )
    pose = (item.x, item.y, item.angle, item.length, item.width)
    for sign in (-1, 1):
        painter.line(
            place(((-0.5, 0), (0.12, sign * 0.44)), *pose), painter.paint_colour("white", 0.9), 0.003
        )


def _draw_track(painter: Painter, item: Item) -> None:
    """A running track with lanes around a striped or plain field."""
    outer = outlines(item)[0]
    painter.textured(
        outer, "grain", _toned((painter.paint_colour(item.colour, 0.75),) * 2, item.tone), item.seed
    )
    lane = painter.paint_colour("white", 0.75)
    for share in (0.05, 0.1, 0.15):
        inset = outlines(_inset(item, share * item.width))[0]
        painter.line([*inset, inset[0]], lane, 0.004 * item.length)
    inner = _inset(item, 0.19 * item.width)
    painter.textured(outlines(inner)[0], "grass", painter.style.ramp("lawn"), item.seed)
    dark, light = painter.style.ramp("lawn")
    length, width = inner.length - 0.7 * inner.width, 0.82 * inner.width
    pose = (item.x, item.y, item.angle, length, width)
    stripes = 8
    for step in range(0, stripes, 2):
        left = -0.5 + step / stripes
        band = ((left, -0.5), (left + 1 / stripes, -0.5), (left + 1 / stripes, 0.5), (left, 0.5))
        painter.textured(place(band, *pose), "grass", (shade(dark, 1.12), shade(light, 1.12)), item.seed)
    lines = [((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5)), ((0, -0.5), (0, 0.5))]
    for points in lines:
        painter.line(place(points, *pose), lane, 0.006 * item.width)


def _inset(item: Item, margin: float) -> Item:
    return Item(
        kind=item.kind,
        x=item.x,
        y=item.y,
        length=item.length - 2 * margin,
        width=item.width - 2 * margin,
        angle=item.angle,
    )


def _draw_bridge(painter: Painter, item: Item) -> None:
    """A deck over water with railings; ``variant`` "truss" adds cross beams."""
    deck = outlines(item)[0]
    painter.shadow([deck], 0.02)
    painter.textured(deck, "grain", _toned(painter.style.ramp(item.material), item.tone), item.seed)
    pose = (item.x, item.y, item.angle, item.length, item.width)
    rail = shade(painter.style.ramp("concrete")[1], 1.15)
    for sign in (-0.44, 0.44):
        painter.line(place(((-0.5, sign), (0.5, sign)), *pose), rail, 0.09 * item.width)
    if item.variant == "truss":
        count = max(3, round(item.length / item.width))
        for step in range(count):
            along = -0.5 + (step + 0.5) / count
            painter.line(place(((along, -0.4), (along, 0.4)), *pose), shade(rail, 0.7), 0.05 * item.width)
    else:
        _dashes(
            painter, place(((-0.5, 0), (0.5, 0)), *pose), painter.paint_colour("white"), 0.06 * item.width
        )


def _draw_marking(painter: Painter, item: Item) -> None:
    """A painted stripe along ``points``."""
    painter.line(item.points, painter.paint_colour(item.colour, item.tone), item.width)


DRAW: dict[str, Callable[[Painter, Item], None]] = {
    "area": _draw_area,
    "patch": _draw_patch,
    "road": _draw_road,
    "stream": _draw_stream,
    "tree": _draw_tree,
    "marking": _draw_marking,
    "building": draw_building,
    "airplane": _draw_airplane,
    "ship": _draw_ship,
    "vehicle": _draw_vehicle,
    "storage tank": draw_tank,
    "tennis court": _draw_tennis_court,
    "basketball court": _draw_basketball_court,
    "baseball diamond": _draw_baseball_diamond,
    "ground track field": _draw_track,
    "harbor": draw_harbor,
    "bridge": _draw_bridge,
}
