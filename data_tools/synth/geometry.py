"""Plane geometry in unit coordinates: the image is the square [0, 1] x [0, 1], x right, y down.

Angles are radians, clockwise as seen on the screen (because y points down).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from random import Random

Point = tuple[float, float]
Polygon = list[Point]
Box = tuple[float, float, float, float]


def place(
    points: Iterable[Point], x: float, y: float, angle: float, sx: float = 1.0, sy: float = 1.0
) -> Polygon:
    """Scale local ``points`` by (sx, sy), turn them by ``angle`` and move them to (x, y)."""
    cos, sin = math.cos(angle), math.sin(angle)
    return [(x + cos * px * sx - sin * py * sy, y + sin * px * sx + cos * py * sy) for px, py in points]


def rectangle(x: float, y: float, length: float, width: float, angle: float) -> Polygon:
    """Return the corners of a rectangle centred on (x, y) whose ``length`` points along ``angle``."""
    return place(((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)), x, y, angle, length, width)


def ellipse(x: float, y: float, length: float, width: float, angle: float = 0.0, steps: int = 24) -> Polygon:
    """Return an ellipse with the given full axes as a polygon."""
    turns = (2 * math.pi * step / steps for step in range(steps))
    return place(((0.5 * math.cos(t), 0.5 * math.sin(t)) for t in turns), x, y, angle, length, width)


def capsule(x: float, y: float, length: float, width: float, angle: float, steps: int = 10) -> Polygon:
    """Return a rectangle with two half-circle ends (a running track) of full size length x width."""
    radius, straight = width / 2, max(0.0, length - width) / 2
    points = []
    for sign in (1, -1):
        for step in range(steps + 1):
            turn = math.pi * (step / steps - 0.5)
            points.append((sign * (straight + radius * math.cos(turn)), sign * radius * math.sin(turn)))
    return place(points, x, y, angle)


def blob(
    rng: Random, x: float, y: float, radius: float, *, roughness: float = 0.25, steps: int = 18
) -> Polygon:
    """Return an irregular closed outline around (x, y): a pond or a patch of wood."""
    waves = [(k, rng.uniform(0, 2 * math.pi), rng.gauss(0, roughness / k)) for k in (2, 3, 4)]
    squeeze, turn = rng.uniform(0.6, 1.0), rng.uniform(0, math.pi)
    points = []
    for step in range(steps):
        t = 2 * math.pi * step / steps
        r = max(0.35, 1 + sum(a * math.cos(k * t + phase) for k, phase, a in waves))
        points.append((r * math.cos(t), r * squeeze * math.sin(t)))
    return place(points, x, y, turn, radius, radius)


def ribbon(points: Sequence[Point], width: float) -> Polygon:
    """Return the outline of a band of constant ``width`` along a polyline (a river, a curved road)."""
    left, right = [], []
    for i, (x, y) in enumerate(points):
        ax, ay = points[max(0, i - 1)]
        bx, by = points[min(len(points) - 1, i + 1)]
        norm = math.hypot(bx - ax, by - ay) or 1.0
        nx, ny = -(by - ay) / norm * width / 2, (bx - ax) / norm * width / 2
        left.append((x + nx, y + ny))
        right.append((x - nx, y - ny))
    return left + right[::-1]


def winding(rng: Random, x: float, y: float, angle: float, bend: float, steps: int = 14) -> list[Point]:
    """Return a curved path across the whole image through about (x, y) in direction ``angle``."""
    phase, waves = rng.uniform(0, 2 * math.pi), rng.uniform(0.6, 1.5)
    local = []
    for step in range(steps + 1):
        t = -1.0 + 2.0 * step / steps
        local.append((t, bend * math.sin(math.pi * waves * t + phase)))
    return place(local, x, y, angle)


def bounds(points: Iterable[Point]) -> Box:
    """Return (x1, y1, x2, y2) of the points."""
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def clip_box(box: Box) -> Box:
    """Return ``box`` cut to the unit square."""
    x1, y1, x2, y2 = (min(1.0, max(0.0, value)) for value in box)
    return x1, y1, x2, y2


def clip_polygon(polygon: Sequence[Point]) -> Polygon:
    """Return the part of a polygon inside the unit square (Sutherland-Hodgman); empty if there is none."""
    points = list(polygon)
    for axis, limit, sign in ((0, 0.0, 1), (0, 1.0, -1), (1, 0.0, 1), (1, 1.0, -1)):
        kept: Polygon = []
        for i, b in enumerate(points):
            a = points[i - 1]
            inside_a, inside_b = sign * (a[axis] - limit) >= 0, sign * (b[axis] - limit) >= 0
            if inside_a != inside_b:
                t = (limit - a[axis]) / (b[axis] - a[axis])
                kept.append((a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])))
            if inside_b:
                kept.append(b)
        points = kept
    return points


def box_area(box: Box) -> float:
    """Return the area of a box."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def box_polygon(box: Box) -> Polygon:
    """Return a box as a polygon."""
    x1, y1, x2, y2 = box
    return [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]


def convex_overlap(a: Sequence[Point], b: Sequence[Point]) -> bool:
    """Whether two convex polygons overlap (separating axis test; touching borders do not count)."""
    for polygon in (a, b):
        for (px, py), (qx, qy) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
            nx, ny = qy - py, px - qx
            of_a = [nx * x + ny * y for x, y in a]
            of_b = [nx * x + ny * y for x, y in b]
            if max(of_a) <= min(of_b) or max(of_b) <= min(of_a):
                return False
    return True


def boxes_touch(a: Box, b: Box) -> bool:
    """Whether two boxes overlap."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
