"""Boxes in angle brackets, ``{<x1><y1><x2><y2>|<angle>}``, as the instruction sets write them.

MiniGPT-v2 introduced the notation; GeoChat added the angle, VRSBench left it out, FIT-RS puts centre, width
and height into the first four places. The numbers are on a scale of 0..100 of the image's sides, angles are
degrees. `rsunivlm.codecs.BoxCodec` reads the same notation out of a model's answer, tolerantly; here a text
that is not exactly of this form is an error, because it would become somebody's truth.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

_SCALE = 100.0
# No object reaches a whole image's side beyond the frame; a number that does is a slip (981 for 98 is known).
_LOWEST, _HIGHEST = -100.0, 200.0
_NUMBER = r"<(-?\d+(?:\.\d+)?)>"
_BOX = re.compile(rf"\{{{_NUMBER * 4}(?:(\|)?{_NUMBER})?\}}")
_REMAINS = re.compile(r"[{}]|<\s*-?\d")


@dataclass(frozen=True)
class AngleBox:
    """A box as written.

    Attributes:
        numbers: the four numbers in front.
        angle: the fifth, in degrees; None where there are only four.
        barred: a ``|`` stands before the angle.
        start: where the box begins in the text.
        end: where it ends.
    """

    numbers: tuple[float, float, float, float]
    angle: float | None
    barred: bool
    start: int
    end: int


@dataclass(frozen=True)
class PixelBox:
    """An upright box in pixels; `clamped`: it reached beyond the frame and was cut there."""

    corners: tuple[float, float, float, float]
    clamped: bool


class NoAreaError(ValueError):
    """The box has no area inside the frame: not a slip, but nothing to point at."""


def find_boxes(text: str) -> list[AngleBox]:
    """Return all boxes of a text in order.

    Raises:
        ValueError: something in it looks like a box and is none.
    """
    boxes = []
    for match in _BOX.finditer(text):
        numbers = (float(match[1]), float(match[2]), float(match[3]), float(match[4]))
        angle = float(match[6]) if match[6] else None
        boxes.append(AngleBox(numbers, angle, match[5] is not None, match.start(), match.end()))
    if rest := _REMAINS.search(_BOX.sub(" ", text)):
        raise ValueError(f"{text[:80]!r} holds something like a box ({rest[0]!r}) that cannot be read")
    return boxes


def without_boxes(text: str) -> str:
    """The text with its boxes, the ``<delim>`` between them and spare blanks taken out."""
    return " ".join(_BOX.sub(" ", text).replace("<delim>", " ").split())


def from_corners(box: AngleBox, size: tuple[int, int]) -> PixelBox:
    """Read the four numbers as x1, y1, x2, y2; an angle is not applied (see the converters' reasons).

    Args:
        box: as written.
        size: (width, height) of the image in pixels.

    Raises:
        NoAreaError: nothing of it lies inside the frame.
        ValueError: its corners are reversed or far outside.
    """
    x1, y1, x2, y2 = box.numbers
    if x2 < x1 or y2 < y1:
        raise ValueError(f"box {list(box.numbers)} is reversed")
    return _in_frame(box, (x1, y1, x2, y2), size)


def from_centre(box: AngleBox, size: tuple[int, int]) -> PixelBox:
    """Read the numbers as centre, width and height of a rectangle turned by the angle: its upright hull.

    The hull does not depend on the direction in which angles are counted.

    Args:
        box: as written.
        size: (width, height) of the image in pixels; both equal, for on another shape of image the
            published scale of a turned rectangle's sides would be unclear.

    Raises:
        NoAreaError: nothing of it lies inside the frame.
        ValueError: sides are not positive, it lies far outside, or the image is not square.
    """
    x, y, width, height = box.numbers
    if size[0] != size[1]:
        raise ValueError(f"a turned box needs a square image, not {size[0]} x {size[1]}")
    if width < 0 or height < 0 or not (0 <= x <= _SCALE and 0 <= y <= _SCALE):
        raise ValueError(f"box {list(box.numbers)} has a negative side or its centre outside the image")
    turn = math.radians(box.angle or 0.0)
    cos, sin = abs(math.cos(turn)), abs(math.sin(turn))
    half_x, half_y = (width * cos + height * sin) / 2, (width * sin + height * cos) / 2
    # Rounded, or the sine of 90 degrees would push a box that ends at the border a hair beyond it.
    corners = (round(value, 6) for value in (x - half_x, y - half_y, x + half_x, y + half_y))
    x1, y1, x2, y2 = corners
    return _in_frame(box, (x1, y1, x2, y2), size)


def _in_frame(box: AngleBox, corners: tuple[float, float, float, float], size: tuple[int, int]) -> PixelBox:
    if min(corners) < _LOWEST or max(corners) > _HIGHEST:
        raise ValueError(f"box {list(box.numbers)} lies far outside the image")
    x1, y1, x2, y2 = (min(max(value, 0.0), _SCALE) for value in corners)
    if x2 <= x1 or y2 <= y1:
        raise NoAreaError(f"box {list(box.numbers)} has no area inside the image")
    width, height = size
    scale = (width / _SCALE, height / _SCALE)
    pixels = (x1 * scale[0], y1 * scale[1], x2 * scale[0], y2 * scale[1])
    left, top, right, bottom = (round(value, 6) for value in pixels)
    return PixelBox((left, top, right, bottom), clamped=(x1, y1, x2, y2) != corners)
