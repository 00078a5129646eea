"""Reading untrusted dataset files: every failure is a ValueError that names the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from rsunivlm.images import MAX_PIXELS


def require(root: Path, *names: str, layout: str) -> None:
    """Check that the files or folders ``names`` lie below ``root``.

    Raises:
        ValueError: one is missing; the message shows the expected layout.
    """
    for name in names:
        if not (root / name).exists():
            raise ValueError(f"{root} has no {name}; expected layout: {layout}")


def read_json(path: Path) -> Any:
    """Parse a JSON file.

    Raises:
        ValueError: it is missing or not valid JSON.
    """
    if not path.is_file():
        raise ValueError(f"{path} does not exist")
    try:
        return json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}); download it again") from error


def image_size(path: Path) -> tuple[int, int]:
    """Read (width, height) from an image's header; pixels are not decoded.

    Raises:
        ValueError: the file is missing or no image.
    """
    if not path.is_file():
        raise ValueError(f"image {path.name} is missing")
    try:
        with Image.open(path) as picture:
            return picture.size
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"image {path.name} is unreadable ({error})") from error


def read_mask(path: Path) -> np.ndarray:
    """Read a label image as raw values.

    Palette images give their indices, not their colours; of a colour image the first channel counts (the
    convention of the datasets that store a mask three times).

    Returns:
        (H, W) integers.

    Raises:
        ValueError: the file is missing, too large, damaged or no image.
    """
    width, height = image_size(path)
    if width * height > MAX_PIXELS:
        raise ValueError(f"mask {path.name} is too large ({width} x {height})")
    try:
        with Image.open(path) as picture:
            values_HWC = np.asarray(picture)
    except (OSError, SyntaxError, EOFError) as error:  # Pillow raises SyntaxError for broken PNG chunks
        raise ValueError(f"mask {path.name} is damaged ({error})") from error
    values_HW = values_HWC if values_HWC.ndim == 2 else values_HWC[..., 0]
    return values_HW.astype(np.int32)
