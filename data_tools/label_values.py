"""Pixel values of label images as numbers: ``targets.value`` may be an index or a colour.

Shapes: H, W rows and columns of a label image.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_tools.files import read_colours, read_mask

_FIRST_COLOUR = 1 << 24
IGNORED = 2


def value_code(value: Any) -> int:
    """One number for a pixel value or a ``[red, green, blue]``; colours lie above all values.

    Raises:
        ValueError: neither of the two.
    """
    channels = value if isinstance(value, list) else [value]
    if len(channels) not in (1, 3) or not all(type(channel) is int for channel in channels):
        raise ValueError(f"{value!r} is neither a pixel value nor [red, green, blue]")
    if len(channels) == 1:
        return int(channels[0])
    red, green, blue = channels
    return _FIRST_COLOUR + (red << 16) + (green << 8) + blue


def show_code(code: int) -> str:
    """The value or colour of a code, in words."""
    if code < _FIRST_COLOUR:
        return str(code)
    return f"colour ({code >> 16 & 255}, {code >> 8 & 255}, {code & 255})"


def read_codes(path: Path, *, coloured: bool) -> NDArray[np.integer[Any]]:
    """Read a label image as codes [H, W].

    Args:
        path: the file.
        coloured: classes are colours; otherwise the first channel or palette index counts.

    Raises:
        ValueError: the file is missing, too large, damaged or no image.
    """
    if not coloured:
        return read_mask(path)
    channels_3 = np.array([1 << 16, 1 << 8, 1], np.int64)
    return read_colours(path).astype(np.int64) @ channels_3 + _FIRST_COLOUR


def truth_of(codes_HW: NDArray[np.integer[Any]], code: int, ignored: Iterable[int]) -> NDArray[np.int64]:
    """The truth of one question [H, W]: 1 the class, 0 others, `IGNORED` not annotated."""
    truth_HW = (codes_HW == code).astype(np.int64)
    truth_HW[np.isin(codes_HW, list(ignored))] = IGNORED
    return truth_HW
