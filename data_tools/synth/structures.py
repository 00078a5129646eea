"""Drawing of things that stand up: buildings with roofs, storage tanks, marina piers with moored boats."""

from __future__ import annotations

import math
from random import Random

from data_tools.synth.geometry import ellipse, place, rectangle
from data_tools.synth.items import Item
from data_tools.synth.outlines import harbor_parts, outlines
from data_tools.synth.painter import Painter, shade


def _facing(painter: Painter, normal_angle: float) -> float:
    """Return the brightness of a roof plane that looks towards ``normal_angle``: high towards the sun."""
    return 1.0 - 0.28 * math.cos(normal_angle - painter.style.sun)


def draw_building(painter: Painter, item: Item) -> None:
    """A building with its shadow and a roof: "flat", "gable", "hip", "sheds" (parallel ridges) or "ell"."""
    footprint = outlines(item)
    painter.shadow(footprint, item.height)
    roof = painter.roof_colour(item.colour, item.tone)
    pose = (item.x, item.y, item.angle, item.length, item.width)
    if item.variant in ("flat", "ell"):
        _flat_roof(painter, item)
        return
    painter.flat(footprint[0], roof)
    up, down = item.angle - math.pi / 2, item.angle + math.pi / 2
    if item.variant == "gable":
        painter.flat(
            place(((-0.5, -0.5), (0.5, -0.5), (0.5, 0), (-0.5, 0)), *pose), shade(roof, _facing(painter, up))
        )
        painter.flat(
            place(((-0.5, 0), (0.5, 0), (0.5, 0.5), (-0.5, 0.5)), *pose), shade(roof, _facing(painter, down))
        )
    elif item.variant == "hip":
        ridge = max(0.0, 0.5 - 0.5 * item.width / item.length)
        planes = (
            (((-0.5, -0.5), (0.5, -0.5), (ridge, 0), (-ridge, 0)), up),
            (((-0.5, 0.5), (0.5, 0.5), (ridge, 0), (-ridge, 0)), down),
            (((0.5, -0.5), (0.5, 0.5), (ridge, 0)), item.angle),
            (((-0.5, -0.5), (-0.5, 0.5), (-ridge, 0)), item.angle + math.pi),
        )
        for plane, normal in planes:
            painter.flat(place(plane, *pose), shade(roof, _facing(painter, normal)))
    elif item.variant == "sheds":
        bays = max(2, round(item.width / max(0.02, 0.25 * item.length)))
        for bay in range(bays):
            low, middle, high = (-0.5 + (bay + part) / bays for part in (0, 0.5, 1))
            for a, b, normal in ((low, middle, up), (middle, high, down)):
                strip = ((-0.5, a), (0.5, a), (0.5, b), (-0.5, b))
                painter.flat(place(strip, *pose), shade(roof, _facing(painter, normal)))
    if item.variant in ("gable", "hip") and item.length > 0.06:
        chimney = place(((0.18, -0.2),), *pose)[0]
        painter.flat(rectangle(*chimney, 0.012, 0.012, item.angle), shade(roof, 0.6))


def _flat_roof(painter: Painter, item: Item) -> None:
    rng = Random(item.seed)
    roof = painter.roof_colour(item.colour, item.tone)
    footprint = outlines(item)[0]
    painter.textured(footprint, "grain", (shade(roof, 0.8), shade(roof, 1.12)), item.seed)
    painter.line([*footprint, footprint[0]], shade(roof, 1.18), 0.006)
    pose = (item.x, item.y, item.angle, item.length, item.width)
    units = rng.randint(0, 5)
    for _ in range(units):
        x, y = rng.uniform(-0.42, -0.12), rng.uniform(-0.4, 0.4)
        if item.variant == "flat":
            x = rng.uniform(-0.4, 0.4)
        size = rng.uniform(0.05, 0.14) * min(item.length, item.width)
        unit = rectangle(*place(((x, y),), *pose)[0], size, size * rng.uniform(0.5, 1), item.angle)
        painter.shadow([unit], 0.008)
        painter.flat(unit, shade(roof, rng.choice((0.7, 1.2))))


def draw_tank(painter: Painter, item: Item) -> None:
    """A cylinder seen from above: cast shadow, wall, roof; ``variant`` "floating" has a sunken roof."""
    rim = outlines(item)[0]
    painter.shadow([rim], item.height)
    top = painter.paint_colour(item.colour, item.tone)
    painter.flat(rim, shade(top, 0.8))
    inner = ellipse(item.x, item.y, 0.9 * item.length, 0.9 * item.length)
    if item.variant == "floating":
        painter.flat(inner, shade(top, 0.45))
        dx, dy = (
            0.05 * item.length * math.cos(painter.style.sun),
            0.05 * item.length * math.sin(painter.style.sun),
        )
        painter.flat(
            ellipse(item.x + dx, item.y + dy, 0.78 * item.length, 0.78 * item.length), shade(top, 0.85)
        )
    else:
        painter.flat(inner, shade(top, 0.95))
        # A shallow cone: the half that meets the sun is brighter.
        half = [point for point in ellipse(0, 0, 0.9, 0.9, 0, 24) if point[0] <= 1e-9]
        painter.flat(
            place(half, item.x, item.y, painter.style.sun, item.length, item.length), shade(top, 1.06)
        )
        painter.line(
            place(((0, 0), (0.45, 0)), item.x, item.y, item.angle, item.length, item.length),
            shade(top, 0.8),
            0.003,
        )
    hub = 0.08 * item.length
    painter.flat(ellipse(item.x, item.y, hub, hub, 0, 8), shade(top, 0.75))


def draw_harbor(painter: Painter, item: Item) -> None:
    """A marina pier: a walkway with fingers, and small boats moored between the fingers as part of it."""
    rng = Random(item.seed)
    parts = harbor_parts(item)
    deck = painter.style.ramp(item.material)
    painter.shadow(parts[:1], 0.006)
    fingers = len(parts) - 1
    for step in range(fingers - 1):
        for sign in (-1, 1):
            for part in (0.3, 0.7):
                if rng.random() > 0.8:
                    continue
                along = -0.46 + 0.92 * (step + part) / (fingers - 1)
                length = rng.uniform(0.26, 0.36) * item.width
                x, y = place(((along, 0.0),), item.x, item.y, item.angle, item.length, 1.0)[0]
                offset = sign * (0.1 * item.width + length / 2)
                x, y = x - math.sin(item.angle) * offset, y + math.cos(item.angle) * offset
                _moored_boat(painter, rng, x, y, length, item.angle + sign * math.pi / 2)
    for plank in parts:
        painter.flat(plank, shade(deck[1], item.tone))


def _moored_boat(painter: Painter, rng: Random, x: float, y: float, length: float, angle: float) -> None:
    width = length * rng.uniform(0.3, 0.38)
    hull = painter.paint_colour(
        rng.choices(("white", "gray", "blue"), (0.8, 0.14, 0.06))[0], rng.uniform(0.85, 1.05)
    )
    shape = ((0.5, 0.0), (0.2, 0.5), (-0.5, 0.42), (-0.5, -0.42), (0.2, -0.5))
    painter.flat(place(shape, x, y, angle, length, width), hull)
    cabin = ((0.12, -0.22), (0.12, 0.22), (-0.25, 0.25), (-0.25, -0.25))
    painter.flat(place(cabin, x, y, angle, length, width), shade(hull, rng.choice((0.55, 0.75))))
