"""From the bands of a raster to 8-bit red, green and blue: which bands, and one stretch for the whole scene.

A model has seen 8-bit pictures. Values of other kinds are stretched between two percentiles of the *scene*
(per band, 2 and 98 by default): stretched tile by tile, the same roof would look different in neighbouring
tiles. 8-bit rasters are left as they are unless a stretch is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PERCENTILES = (2.0, 98.0)


def choose_bands(count: int, colours: Sequence[str], asked: Sequence[int] | None, name: str) -> list[int]:
    """Numbers (from 1) of the bands that are read as red, green and blue.

    Args:
        count: bands of the raster.
        colours: the colour interpretation of each, e.g. "red", "gray", "alpha", "undefined".
        asked: what the user wants, one or three numbers; None for the bands tagged red, green and blue, else
            the first three that are not alpha. A raster of one or two bands gives its first.
        name: of the raster, for messages.

    Returns:
        Three numbers, or one that stands for all three.

    Raises:
        ValueError: a number is out of range, or there are not one or three of them.
    """
    if asked is not None:
        if len(asked) not in (1, 3):
            raise ValueError(f"--bands takes three numbers (red, green, blue) or one, got {len(asked)}")
        wrong = [band for band in asked if not 1 <= band <= count]
        if wrong:
            raise ValueError(f"{name} has bands 1..{count}; there is no band {wrong[0]} (--bands)")
        return list(asked)
    tagged = [list(colours).index(colour) + 1 for colour in ("red", "green", "blue") if colour in colours]
    if len(tagged) == 3:
        return tagged
    seen = [band for band in range(1, count + 1) if colours[band - 1] != "alpha"]
    if not seen:
        raise ValueError(f"{name} has no band but alpha")
    return seen[:3] if len(seen) >= 3 else seen[:1]


@dataclass(frozen=True)
class Stretch:
    """Values that become black and white, per band; between them it is linear.

    Attributes:
        low: of each band that is read.
        high: of each band that is read; equal to `low` in a band without contrast, which becomes black.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    @classmethod
    def of(cls, samples: NDArray[Any], percentiles: tuple[float, float]) -> Stretch:
        """From samples [bands, N]; without any, everything becomes black."""
        if samples.shape[1] == 0:
            return cls((0.0,) * len(samples), (0.0,) * len(samples))
        low, high = np.percentile(samples.astype(np.float64), percentiles, axis=1)
        return cls(tuple(low.tolist()), tuple(high.tolist()))

    def apply(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """8-bit values of values [bands, H, W]; what is not a number becomes black."""
        low = np.array(self.low)[:, None, None]
        span = np.array(self.high)[:, None, None] - low
        # float32 holds every 16-bit value exactly and halves what a tile takes.
        scale = np.where(span > 0, 255.0 / np.where(span > 0, span, 1), 0)
        scaled = (values - low.astype(np.float32)) * scale.astype(np.float32)
        return np.nan_to_num(np.clip(scaled, 0, 255), nan=0.0).round().astype(np.uint8)


def read_percentiles(text: str) -> tuple[float, float] | None:
    """`--stretch` as the user writes it: "none", or two percentiles such as "2,98".

    Raises:
        ValueError: it is neither.
    """
    if text == "none":
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError(f"--stretch is auto, none or two percentiles such as 2,98, not {text!r}") from error
    if not 0 <= low < high <= 100:
        raise ValueError(f"--stretch needs 0 <= low < high <= 100, got {text!r}")
    return low, high
