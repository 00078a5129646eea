"""How one acquisition looks: sun, season, sensor, haze and noise, and the colours that follow from them.

A scene says *what* is on the ground (materials such as "grass" or "asphalt"); the style says which colours
those materials have on the day of the picture. Two pictures of one place are one list of items under two
styles, which is how before/after pairs get their light and season differences without any change on the
ground.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from random import Random

import numpy as np
from PIL import Image, ImageFilter

from data_tools.synth.textures import Colour, sensor_noise, shading_field

# Dark and light tone of each material, in the muted colours of satellite and aerial pictures.
MATERIALS: dict[str, tuple[Colour, Colour]] = {
    "grass": ((46, 62, 38), (104, 118, 76)),
    "lawn": ((56, 88, 44), (98, 134, 72)),
    "dry grass": ((98, 92, 62), (156, 144, 104)),
    "woods": ((12, 24, 14), (92, 112, 64)),
    "crop": ((56, 78, 38), (116, 136, 78)),
    "ripe crop": ((128, 112, 62), (188, 170, 112)),
    "ploughed": ((88, 68, 50), (146, 120, 94)),
    "bare": ((118, 100, 80), (190, 170, 140)),
    "sand": ((180, 162, 128), (226, 210, 178)),
    "asphalt": ((70, 70, 72), (124, 122, 120)),
    "concrete": ((130, 128, 122), (186, 182, 174)),
    "dirt": ((140, 112, 84), (192, 164, 130)),
    "gravel": ((118, 112, 102), (170, 162, 150)),
    "water": ((18, 40, 50), (46, 76, 84)),
    "infield": ((148, 100, 70), (196, 146, 108)),
}
VEGETATION = {"grass": 1.0, "lawn": 1.0, "dry grass": 0.45, "woods": 1.0, "crop": 0.95, "ripe crop": 0.4}

# Paint colours carry names because referring expressions use them.
PAINTS: dict[str, Colour] = {
    "white": (232, 232, 228),
    "gray": (142, 142, 142),
    "black": (38, 38, 42),
    "red": (186, 44, 36),
    "blue": (44, 86, 168),
    "yellow": (222, 186, 44),
    "green": (48, 122, 66),
    "brown": (122, 84, 60),
}
# Roofs carry the same names in weathered tones.
ROOFS: dict[str, Colour] = {
    "white": (220, 218, 210),
    "gray": (136, 134, 132),
    "red": (164, 70, 54),
    "blue": (66, 104, 166),
    "brown": (112, 84, 66),
}
# Pairs that light, haze or noise can make look alike; an expression never relies on telling them apart.
CONFUSABLE = frozenset(
    frozenset(pair)
    for pair in (
        ("white", "gray"),
        ("gray", "black"),
        ("red", "brown"),
        ("yellow", "white"),
        ("brown", "gray"),
    )
)
SEASONS = ("spring", "summer", "dry", "autumn", "winter")
_SEASON_SHIFT: dict[str, tuple[float, float, float]] = {
    "spring": (0.95, 1.1, 0.9),
    "summer": (0.85, 0.98, 0.85),
    "dry": (1.25, 1.08, 0.85),
    "autumn": (1.3, 0.95, 0.75),
    "winter": (1.05, 0.92, 0.95),
}
_WATERS: tuple[tuple[Colour, Colour], ...] = (
    ((14, 34, 44), (40, 68, 78)),
    ((16, 40, 66), (44, 84, 112)),
    ((38, 58, 44), (78, 96, 74)),
    ((84, 84, 62), (124, 122, 92)),
    ((8, 14, 18), (28, 36, 42)),
    ((30, 92, 104), (72, 140, 146)),
)


@dataclass(frozen=True)
class Style:
    """Everything about one picture that is not on the ground.

    ``sun`` is the direction *shadows* fall, in radians clockwise from +x; ``shadow_length`` is in units of
    object height; ``sensor`` is "rgb", "grey", "infrared" (near infrared shown red) or "infrared green".
    """

    sun: float
    shadow_length: float
    shadow_depth: float
    season: str
    sensor: str
    water: tuple[Colour, Colour]
    gains: tuple[float, float, float]
    brightness: float
    contrast: float
    saturation: float
    haze: float
    noise: float
    blur: float
    relief: float
    seed: int

    @property
    def shows_colour(self) -> bool:
        """Whether colour words can be used for what is seen."""
        return self.sensor == "rgb"

    @property
    def sun_octant(self) -> int:
        """Direction light comes from, in steps of 45 degrees (opposite to the shadows)."""
        return round((self.sun + math.pi) / (math.pi / 4)) % 8

    def ramp(self, material: str) -> tuple[Colour, Colour]:
        """Return the dark and light tone of ``material`` in this picture."""
        if material == "water":
            return self._seen(self.water[0], 0.0, 0.4), self._seen(self.water[1], 0.0, 0.4)
        dark, light = MATERIALS[material]
        green = VEGETATION.get(material, 0.0)
        return self._seen(dark, green), self._seen(light, green)

    def paint(self, colour: Colour) -> Colour:
        """Return how a painted (non-vegetated) surface of true ``colour`` is seen."""
        return self._seen(colour, 0.0)

    def _seen(self, colour: Colour, vegetation: float, infrared_share: float = 1.0) -> Colour:
        """Return how the sensor shows a surface of true ``colour``.

        ``vegetation`` is the share of leaves, ``infrared_share`` how much near infrared it reflects for its
        red light when it has none.
        """
        red, green, blue = (float(value) for value in colour)
        if vegetation:
            shift = _SEASON_SHIFT[self.season]
            red, green, blue = red * shift[0], green * shift[1], blue * shift[2]
        if self.sensor.startswith("infrared"):
            # Leaves reflect near infrared strongly, water hardly, other things about as much as red light.
            infrared = red * infrared_share + vegetation * (0.8 * green + 24)
            red, green, blue = red, green * (1 - 0.35 * vegetation), blue * (1 - 0.1 * vegetation)
            if self.sensor == "infrared green":
                red, green, blue = blue * 0.95 + 8, infrared, red * (0.9 - 0.5 * vegetation)
            else:
                red, green, blue = infrared, green * 0.97 + 6, blue * 1.05 + 10
        return (min(255, round(red)), min(255, round(green)), min(255, round(blue)))


def draw_style(rng: Random) -> Style:
    """Draw a random style."""
    sensor = rng.choices(("rgb", "grey", "infrared", "infrared green"), (0.84, 0.05, 0.07, 0.04))[0]
    warm = rng.gauss(0, 0.05)
    return Style(
        sun=rng.uniform(0, 2 * math.pi),
        shadow_length=rng.uniform(0.5, 1.6),
        shadow_depth=rng.uniform(0.35, 0.65),
        season=rng.choices(SEASONS, (0.25, 0.35, 0.15, 0.12, 0.13))[0],
        sensor=sensor,
        water=rng.choice(_WATERS),
        gains=(1 + warm, 1 + rng.gauss(0, 0.02), 1 - warm),
        brightness=rng.uniform(0.7, 1.2),
        contrast=rng.uniform(0.8, 1.2),
        saturation=rng.uniform(0.55, 1.25),
        haze=max(0.0, rng.uniform(-0.2, 0.22)),
        noise=rng.uniform(0.5, 5.0),
        blur=max(0.0, rng.uniform(-0.4, 0.75)),
        relief=rng.uniform(0.0, 0.06),
        seed=rng.randrange(1 << 30),
    )


def revisit(style: Style, rng: Random) -> Style:
    """Return the style of a later picture of the same place by the same sensor."""
    other = draw_style(rng)
    return replace(other, sensor=style.sensor, water=style.water)


def develop(canvas: Image.Image, size: int, style: Style) -> Image.Image:
    """Turn a drawn canvas (RGB, side a multiple of ``size``) into the final picture (RGB, size x size)."""
    image = canvas.reduce(canvas.width // size)
    if style.blur > 0.15:
        image = image.filter(ImageFilter.GaussianBlur(style.blur))
    pixels = np.asarray(image, np.float32)
    grey = pixels @ np.array((0.3, 0.59, 0.11), np.float32)
    saturation = 0.0 if style.sensor == "grey" else style.saturation
    pixels = grey[..., None] + (pixels - grey[..., None]) * saturation
    pixels *= np.array(style.gains, np.float32) * style.brightness
    mean = pixels.mean()
    pixels = mean + (pixels - mean) * style.contrast
    pixels *= (1 + style.relief * shading_field(size, style.seed))[..., None]
    pixels = pixels * (1 - style.haze) + style.haze * np.array((196, 202, 208), np.float32)
    noise = sensor_noise(size, style.seed)
    if style.sensor == "grey":
        noise = noise[..., :1]
    pixels += style.noise * noise
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
