"""Reading untrusted dataset files: every failure is a ValueError that names the file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from rsunivlm.images import MAX_PIXELS

# Pillow's modes that turn into RGB without a loss of range.
_EIGHT_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
_ORIENTATION = 0x0112  # EXIF tag; values from 5 on swap the sides


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


def read_lines(path: Path) -> list[str]:
    """Return the distinct lines of a list file in order, stripped, without blank ones.

    Raises:
        ValueError: it is missing or no text.
    """
    if not path.is_file():
        raise ValueError(f"{path} does not exist")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text file ({error}); download it again") from error
    return list(dict.fromkeys(line.strip() for line in lines if line.strip()))


def stream_json(path: Path, prefix: str) -> Iterator[Any]:
    """Yield the values below a prefix of a JSON file without holding the file in memory.

    Args:
        path: the file.
        prefix: where the values stand, in ijson's notation: "item" for the entries of a list, "images.item"
            for those of the list under "images".

    Raises:
        ValueError: it is missing, not valid JSON or cut short.
    """
    import ijson

    if not path.is_file():
        raise ValueError(f"{path} does not exist")
    with path.open("rb") as file:
        try:
            yield from ijson.items(file, prefix, use_float=True)
        except (ijson.JSONError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is not valid JSON ({error}); download it again") from error


def image_size(path: Path) -> tuple[int, int]:
    """Read (width, height) from an image's header, upright as `open_image` shows it; nothing is decoded.

    Raises:
        ValueError: the file is missing or no image.
    """
    if not path.is_file():
        raise ValueError(f"image {path.name} is missing")
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            # Of other formats Pillow would decode the picture to find out.
            turned = picture.format in ("JPEG", "MPO", "TIFF") and picture.getexif().get(_ORIENTATION, 1) >= 5
            return (height, width) if turned else (width, height)
    except UnidentifiedImageError as error:  # its text holds the whole path, another on every machine
        raise ValueError(f"image {path.name} is unreadable (no known image format)") from error
    except (OSError, Image.DecompressionBombError) as error:
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
    values_HWC = _decode(path)
    values_HW = values_HWC if values_HWC.ndim == 2 else values_HWC[..., 0]
    return values_HW.astype(np.int32)


def read_colours(path: Path) -> np.ndarray:
    """Read an image as colours, also where it is stored with a palette, in grey or with an alpha channel.

    Returns:
        (H, W, 3) bytes: red, green, blue.

    Raises:
        ValueError: the file is missing, too large, damaged or no image of 8 bits per channel.
    """
    return _decode(path, "RGB")


def _decode(path: Path, mode: str = "") -> np.ndarray:
    width, height = image_size(path)
    if width * height > MAX_PIXELS:
        raise ValueError(f"image {path.name} is too large ({width} x {height})")
    try:
        with Image.open(path) as picture:
            if mode and picture.mode not in _EIGHT_BIT:
                raise ValueError(f"image {path.name} is not made of 8-bit channels (mode {picture.mode})")
            return np.asarray(picture.convert(mode) if mode else picture)
    except (OSError, SyntaxError, EOFError) as error:  # Pillow raises SyntaxError for broken PNG chunks
        raise ValueError(f"image {path.name} is damaged ({error})") from error


def write_whole(path: Path, content: str) -> None:
    """Write a text file so that it is there as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(content, encoding="utf-8")
    os.replace(partial, path)
