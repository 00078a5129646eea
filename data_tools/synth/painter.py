"""Drawing primitives on a supersampled canvas: textured polygons, shadows, and the label map beside them.

The canvas is ``SUPERSAMPLING`` times the output size, so that reducing it gives anti-aliased edges. The label
map is drawn with the same polygons on a second canvas of the same size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from data_tools.synth.geometry import Point, Polygon, bounds
from data_tools.synth.style import PAINTS, ROOFS, Style
from data_tools.synth.textures import REFERENCE_CANVAS, Colour, patch

SUPERSAMPLING = 2


@lru_cache(maxsize=64)
def _darkening(depth_percent: int) -> list[int]:
    return [round(value * (1 - depth_percent / 100)) for value in range(256)] * 3


def shade(colour: Colour, factor: float) -> Colour:
    """Return ``colour`` made brighter (factor > 1) or darker."""
    return (
        min(255, round(colour[0] * factor)),
        min(255, round(colour[1] * factor)),
        min(255, round(colour[2] * factor)),
    )


class Painter:
    """Draws items of a scene in unit coordinates onto a picture canvas and a label canvas."""

    def __init__(self, size: int, style: Style):
        self.side = size * SUPERSAMPLING
        self.style = style
        self.magnification = self.side / REFERENCE_CANVAS
        self.canvas = Image.new("RGB", (self.side, self.side))
        self.draw = ImageDraw.Draw(self.canvas)

    def pixels(self, polygon: Sequence[Point]) -> list[Point]:
        """Return unit coordinates as canvas pixel coordinates."""
        return [(x * self.side, y * self.side) for x, y in polygon]

    def paint_colour(self, name: str, tone: float = 1.0) -> Colour:
        """Return the seen colour of the paint ``name``."""
        return self.style.paint(shade(PAINTS[name], tone))

    def roof_colour(self, name: str, tone: float = 1.0) -> Colour:
        """Return the seen colour of a roof called ``name``."""
        return self.style.paint(shade(ROOFS[name], tone))

    def flat(self, polygon: Sequence[Point], colour: Colour) -> None:
        """Fill a polygon with one colour."""
        self.draw.polygon(self.pixels(polygon), fill=colour)

    def line(self, points: Sequence[Point], colour: Colour, width: float) -> None:
        """Draw a polyline whose ``width`` is in unit coordinates (never thinner than one canvas pixel)."""
        self.draw.line(self.pixels(points), fill=colour, width=max(1, round(width * self.side)))

    def _window(self, polygons: Sequence[Sequence[Point]]) -> tuple[int, int, int, int] | None:
        x1, y1, x2, y2 = bounds(point for polygon in polygons for point in polygon)
        left, top = max(0, math.floor(x1 * self.side) - 1), max(0, math.floor(y1 * self.side) - 1)
        right = min(self.side, math.ceil(x2 * self.side) + 1)
        bottom = min(self.side, math.ceil(y2 * self.side) + 1)
        return (left, top, right, bottom) if right > left and bottom > top else None

    def _mask(self, polygons: Sequence[Sequence[Point]], window: tuple[int, int, int, int]) -> Image.Image:
        mask = Image.new("L", (window[2] - window[0], window[3] - window[1]))
        draw = ImageDraw.Draw(mask)
        for polygon in polygons:
            draw.polygon([(x - window[0], y - window[1]) for x, y in self.pixels(polygon)], fill=255)
        return mask

    def textured(
        self,
        polygon: Sequence[Point],
        texture: str,
        ramp: tuple[Colour, Colour],
        seed: int,
        *,
        row_angle: float = 0.0,
        row_period: int = 6,
        softness: float = 0.0,
    ) -> None:
        """Fill a polygon with a texture between the two tones of ``ramp``; ``softness`` blurs its edge."""
        window = self._window([polygon])
        if window is None:
            return
        fill = patch(
            texture,
            (window[2] - window[0], window[3] - window[1]),
            *ramp,
            seed=seed,
            magnification=self.magnification,
            sun_octant=self.style.sun_octant,
            row_angle=row_angle,
            row_period=row_period,
        )
        mask = self._mask([polygon], window)
        if softness:
            mask = mask.filter(ImageFilter.BoxBlur(softness * self.side))
        self.canvas.paste(fill, window[:2], mask)

    def ground(self, texture: str, ramp: tuple[Colour, Colour], seed: int) -> None:
        """Cover the whole canvas with a texture."""
        fill = patch(
            texture,
            self.canvas.size,
            *ramp,
            seed=seed,
            magnification=self.magnification,
            sun_octant=self.style.sun_octant,
        )
        self.canvas.paste(fill)

    def shadow_vector(self, height: float) -> Point:
        """Return how far a point at ``height`` (unit lengths) throws its shadow."""
        reach = height * self.style.shadow_length
        return reach * math.cos(self.style.sun), reach * math.sin(self.style.sun)

    def shadow(self, polygons: Sequence[Sequence[Point]], height: float) -> None:
        """Darken the ground where upright prisms over ``polygons`` throw their shadow."""
        dx, dy = self.shadow_vector(height)
        swept: list[Polygon] = []
        for polygon in polygons:
            swept.append([(x + dx, y + dy) for x, y in polygon])
            for (ax, ay), (bx, by) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
                swept.append([(ax, ay), (bx, by), (bx + dx, by + dy), (ax + dx, ay + dy)])
        window = self._window(swept)
        if window is None:
            return
        dark = self.canvas.crop(window).point(_darkening(round(100 * self.style.shadow_depth)))
        self.canvas.paste(dark, window[:2], self._mask(swept, window))


class LabelPainter:
    """Draws polygons as class indices; ``coverage`` then tells which output pixels a class covers."""

    def __init__(self, size: int):
        self.size = size
        self.side = size * SUPERSAMPLING
        self.canvas = Image.new("L", (self.side, self.side))
        self.draw = ImageDraw.Draw(self.canvas)

    def fill(self, polygon: Sequence[Point], value: int) -> None:
        """Give ``value`` to the canvas pixels of a polygon in unit coordinates."""
        self.draw.polygon([(x * self.side, y * self.side) for x, y in polygon], fill=value)

    def reduced(self) -> np.ndarray:
        """Return the class map (size, size) uint8: the most frequent value in each output pixel.

        Ties go to the larger value.
        """
        cells = np.asarray(self.canvas).reshape(self.size, SUPERSAMPLING, self.size, SUPERSAMPLING)
        four = np.sort(cells.transpose(0, 2, 1, 3).reshape(self.size, self.size, 4), axis=-1)
        a, b, c, d = (four[..., rank] for rank in range(4))
        return np.where(b == c, b, np.where((a == b) & (c != d), a, d))
