"""Cached mono noise tiles that give flat polygons the grain of real ground.

Making noise is slow, cutting a window out of a ready tile is fast: every texture is therefore made once
per process, as a periodic 8-bit tile around mid-grey, and each use is a crop at a seeded offset followed by
a colour ramp between a dark and a light tone. Tiles are designed for a drawing canvas of 320 px; larger
canvases take a smaller window and enlarge it, so a wood looks the same at every output size.

Periodic noise is made in the frequency domain (white noise times a power law), canopies by spreading round
crowns over a torus and lighting their height map from the side of the sun.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from PIL import Image

TILE = 512
REFERENCE_CANVAS = 320
CROWN_RADII = {"canopy fine": 4.0, "canopy": 7.0, "canopy coarse": 12.0}

Colour = tuple[int, int, int]


def _generator(name: str) -> np.random.Generator:
    """Return the fixed random source of the texture ``name``: tiles never differ between processes."""
    return np.random.default_rng([ord(letter) for letter in name])


def _power_noise(name: str, exponent: float, stretch: float = 1.0) -> np.ndarray:
    """Return periodic noise (TILE, TILE) with zero mean, unit deviation and amplitude ~ frequency**-exponent.

    ``stretch`` above 1 elongates the grain along x.
    """
    white = _generator(name).standard_normal((TILE, TILE))
    fy = np.fft.fftfreq(TILE)[:, None]
    fx = np.fft.rfftfreq(TILE)[None, :] * stretch
    frequency = np.sqrt(fx**2 + fy**2)
    frequency[0, 0] = np.inf
    noise = np.fft.irfft2(np.fft.rfft2(white) * frequency**-exponent, s=(TILE, TILE))
    return (noise - noise.mean()) / noise.std()


def _crown_heights(radius: float) -> np.ndarray:
    """Return a periodic height map (TILE, TILE) of a closed canopy whose crowns measure about ``radius``."""
    rng = _generator(f"crowns {radius}")
    heights = np.zeros((TILE, TILE), np.float32)
    count = int(1.6 * TILE * TILE / (math.pi * radius**2))
    for _ in range(count):
        r = radius * rng.uniform(0.6, 1.4)
        cx, cy = rng.integers(0, TILE, 2)
        reach = int(r) + 1
        offsets = np.arange(-reach, reach + 1)
        dome = np.sqrt(np.clip(r**2 - offsets[:, None] ** 2 - offsets[None, :] ** 2, 0, None))
        window = np.ix_((cy + offsets) % TILE, (cx + offsets) % TILE)
        heights[window] = np.maximum(heights[window], dome * rng.uniform(0.7, 1.3))
    return heights / radius


def _to_bytes(noise: np.ndarray, spread: float) -> np.ndarray:
    return np.clip(128 + spread * noise, 0, 255).astype(np.uint8)


@lru_cache(maxsize=64)
def _tile(kind: str, sun_octant: int) -> Image.Image:
    """Return the texture ``kind`` as an L image of 2 TILE x 2 TILE, so that any offset can be cropped."""
    if kind in CROWN_RADII:
        heights = _crown_heights(CROWN_RADII[kind])
        angle = sun_octant * math.pi / 4
        step_x, step_y = round(math.cos(angle) * 2), round(math.sin(angle) * 2)
        # A slope that faces the sun is bright: compare each crown with its neighbour towards the sun.
        slope = heights - np.roll(heights, (-step_y, -step_x), (0, 1))
        tile = _to_bytes(0.8 * slope + 1.1 * (heights - heights.mean()) + 0.15 * _power_noise(kind, 0.3), 90)
    elif kind == "grain":
        tile = _to_bytes(0.7 * _power_noise("grain", 0.3) + 0.7 * _power_noise("grain low", 1.1), 40)
    elif kind == "soil":
        tile = _to_bytes(0.9 * _power_noise("soil", 1.3) + 0.45 * _power_noise("soil fine", 0.4), 42)
    elif kind == "grass":
        tile = _to_bytes(0.8 * _power_noise("grass", 1.5) + 0.5 * _power_noise("grass fine", 0.5), 42)
    elif kind == "water":
        tile = _to_bytes(
            0.8 * _power_noise("water", 1.2, stretch=0.5) + 0.2 * _power_noise("ripple", 0.2), 34
        )
    elif kind == "waves":
        tile = _to_bytes(0.9 * _power_noise("waves", 0.9, stretch=0.35), 44)
    else:
        raise KeyError(kind)
    return Image.fromarray(np.tile(tile, (2, 2)))


@lru_cache(maxsize=160)
def _rows(period: int, angle_step: int) -> Image.Image:
    """Return crop rows of ``period`` px at ``angle_step`` x 7.5 degrees as an L image of TILE x TILE."""
    angle = math.radians(7.5 * angle_step)
    y, x = np.mgrid[0:TILE, 0:TILE].astype(np.float32)
    across = -x * math.sin(angle) + y * math.cos(angle)
    bend = 0.6 * _power_noise("row bend", 1.6)
    rows = np.sin(2 * math.pi * across / period + bend) * 0.75 + 0.5 * _power_noise("row soil", 1.0)
    return Image.fromarray(_to_bytes(rows, 46))


@lru_cache(maxsize=4096)
def _ramp(dark: Colour, light: Colour) -> tuple[list[int], list[int], list[int]]:
    """Return a lookup table per channel from grey 0..255 to colours from ``dark`` to ``light``."""
    steps = np.linspace(0.0, 1.0, 256)
    channels = zip(dark, light, strict=True)
    red, green, blue = (
        np.clip(np.rint(a + (b - a) * steps), 0, 255).astype(int).tolist() for a, b in channels
    )
    return red, green, blue


def patch(
    kind: str,
    size: tuple[int, int],
    dark: Colour,
    light: Colour,
    *,
    seed: int,
    magnification: float = 1.0,
    sun_octant: int = 0,
    row_angle: float = 0.0,
    row_period: int = 6,
) -> Image.Image:
    """Return a coloured texture window as an RGB image.

    Args:
        kind: texture name ("grain", "soil", "grass", "water", "waves", "rows", or a canopy).
        size: (width, height) wanted, in canvas pixels.
        dark: colour of the darkest grain.
        light: colour of the brightest grain.
        seed: chooses the offset of the window.
        magnification: canvas side divided by ``REFERENCE_CANVAS``.
        sun_octant: where light comes from, in steps of 45 degrees clockwise from +x (canopies only).
        row_angle: direction of crop rows in radians ("rows" only).
        row_period: distance of crop rows in reference pixels ("rows" only).
    """
    if kind == "rows":
        tile = _rows(row_period, round(math.degrees(row_angle) / 7.5) % 24)
        room = TILE
    else:
        tile = _tile(kind, sun_octant % 8 if kind in CROWN_RADII else 0)
        room = 2 * TILE
    width = min(room, max(1, math.ceil(size[0] / magnification)))
    height = min(room, max(1, math.ceil(size[1] / magnification)))
    left = (seed * 7919) % (room - width + 1)
    top = (seed * 104729 // 7) % (room - height + 1)
    window = tile.crop((left, top, left + width, top + height))
    if window.size != size:
        window = window.resize(size, Image.Resampling.BILINEAR)
    red, green, blue = _ramp(dark, light)
    return Image.merge("RGB", (window.point(red), window.point(green), window.point(blue)))


@lru_cache(maxsize=1)
def _noise_bank() -> np.ndarray:
    return np.random.default_rng(20240607).standard_normal((1024, 1024)).astype(np.float32)


def sensor_noise(size: int, seed: int) -> np.ndarray:
    """Return white noise (size, size, 3), float32, unit deviation, from a fixed bank at a seeded offset."""
    bank = _noise_bank()
    planes = []
    for channel in range(3):
        start = (seed * 2654435761 + channel * 40503) % bank.size
        planes.append(np.take(bank.ravel(), np.arange(start, start + size * size), mode="wrap"))
    return np.stack(planes, -1).reshape(size, size, 3)


def shading_field(size: int, seed: int) -> np.ndarray:
    """Return slow brightness changes (size, size), float32, about unit deviation: relief, thin cloud."""
    bank = _noise_bank()
    row, column = (seed * 31) % 1000, (seed * 17) % 1000
    coarse = np.clip(bank[row : row + 4, column : column + 4], -2, 2)
    field = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(field, np.float32)
