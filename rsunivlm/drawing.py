"""Drawing on pictures: boxes, masks and lines of text, for answers, contact sheets and score reports.

Pillow and numpy only, no torch, so that data tools, evaluation and inference draw alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageColor, ImageDraw, ImageFont

Colour = str | tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Distinct on imagery, colour-blind safe (Okabe and Ito 2008).
PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
MIN_SIDE = 480  # small pictures are enlarged so that lines and letters can be read
MAX_ENLARGED_SIDE = 4096
_DASH = 6  # pixels, and as many of the gap


def enlarge(picture: Image.Image, min_side: int = MIN_SIDE) -> tuple[Image.Image, float]:
    """Scale a small picture up; returns it and the factor (at least 1).

    The longer side stays within `MAX_ENLARGED_SIDE`: a strip of one pixel's height would fill the memory.
    """
    scale = max(1.0, min(min_side / min(picture.size), MAX_ENLARGED_SIDE / max(picture.size)))
    return _scaled(picture, scale), scale


def fit_side(picture: Image.Image, longer_side: int) -> tuple[Image.Image, float]:
    """Scale a picture so that its longer side has so many pixels; returns it and the factor."""
    scale = longer_side / max(picture.size)
    return _scaled(picture, scale), scale


def _scaled(picture: Image.Image, scale: float) -> Image.Image:
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.convert("RGB").resize(size, Image.Resampling.BICUBIC)


def draw_boxes(picture: Image.Image, boxes_px: npt.ArrayLike, colour: Colour, *, scale: float = 1.0) -> None:
    """Outline boxes [K, 4] (x1, y1, x2, y2 before scaling) in place, dark-rimmed to show on any ground."""
    draw = ImageDraw.Draw(picture)
    width = max(2, round(min(picture.size) / 160))
    for box in _corners(boxes_px, scale):
        outer = [box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1]
        draw.rectangle(outer, outline="black", width=width + 2)
        draw.rectangle(box.tolist(), outline=colour, width=width)


def frame_boxes(
    picture: Image.Image, boxes_px: npt.ArrayLike, colour: Colour, width: int, *, scale: float = 1.0
) -> None:
    """Draw lines around boxes [K, 4] in place.

    The line runs outside the box, so as not to cover a small object, where the picture has room.
    """
    draw = ImageDraw.Draw(picture)
    for box in _corners(boxes_px, scale).tolist():
        x1, y1 = (max(round(value) - width, 0) for value in box[:2])
        x2 = min(round(box[2]) + width, picture.width - 1)
        y2 = min(round(box[3]) + width, picture.height - 1)
        draw.rectangle((x1, y1, x2, y2), outline=colour, width=width)


def dash_boxes(picture: Image.Image, boxes_px: npt.ArrayLike, colour: Colour, *, scale: float = 1.0) -> None:
    """Outline boxes [K, 4] in place with a thin dashed line, to compare with a solid one below."""
    pixels = picture.load()
    assert pixels is not None
    for box in _corners(boxes_px, scale):
        limits = np.array([picture.width - 1, picture.height - 1] * 2)
        x1, y1, x2, y2 = np.clip(np.round(box), 0, limits).astype(int).tolist()
        across = [(x, y) for y in (y1, y2) for x in range(x1, x2 + 1)]
        down = [(x, y) for x in (x1, x2) for y in range(y1, y2 + 1)]
        for x, y in (*across, *down):
            if (x + y) // _DASH % 2 == 0:
                pixels[x, y] = _rgb(colour)


def blend_mask(
    picture: Image.Image, mask: np.ndarray, *, opacity: float = 0.45, colours: Sequence[Colour] = PALETTE
) -> Image.Image:
    """Tint the pixels of each class index above 0; the mask [H, W] is scaled to the picture."""
    indices = _at_size(mask, picture.size)
    pixels = np.asarray(picture.convert("RGB")).astype(np.float32)
    for index in range(1, int(indices.max(initial=0)) + 1):
        colour = np.array(_rgb(colours[(index - 1) % len(colours)]), dtype=np.float32)
        chosen = indices == index
        pixels[chosen] = (1 - opacity) * pixels[chosen] + opacity * colour
    return Image.fromarray(pixels.round().astype(np.uint8))


def outline_mask(picture: Image.Image, mask: np.ndarray, colour: Colour) -> Image.Image:
    """Draw the inner border of the area where the mask [H, W] is not 0, one pixel thick."""
    area = np.pad(_at_size(mask, picture.size) != 0, 1)
    inner = area[1:-1, 1:-1] & area[:-2, 1:-1] & area[2:, 1:-1] & area[1:-1, :-2] & area[1:-1, 2:]
    pixels = np.array(picture.convert("RGB"))
    pixels[area[1:-1, 1:-1] & ~inner] = _rgb(colour)
    return Image.fromarray(pixels)


def side_by_side(pictures: Sequence[Image.Image], gap: int = 0) -> Image.Image:
    """Join pictures in a row on white, aligned at the top."""
    width = sum(picture.width for picture in pictures) + gap * (len(pictures) - 1)
    row = Image.new("RGB", (width, max(picture.height for picture in pictures)), "white")
    left = 0
    for picture in pictures:
        row.paste(picture, (left, 0))
        left += picture.width + gap
    return row


def fit_text(text: str, font: Font, width: float) -> str:
    """The text on one line, cut with an ellipsis where it is too long."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def wrap_text(text: str, font: Font, width: float, max_lines: int | None = None) -> list[str]:
    """Break a text at spaces into lines; a word longer than a line has one to itself.

    Args:
        text: what to write.
        font: in which letters.
        width: of a line in pixels.
        max_lines: cut the last of so many lines, and every line that is too long, with an ellipsis.
    """
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or len(lines) == max_lines or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines if max_lines is None else [fit_text(line, font, width) for line in lines]


def _rgb(colour: Colour) -> tuple[int, ...]:
    return ImageColor.getrgb(colour) if isinstance(colour, str) else colour


def _corners(boxes_px: npt.ArrayLike, scale: float) -> np.ndarray:
    return np.asarray(boxes_px, dtype=float).reshape(-1, 4) * scale


def _at_size(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(mask.astype(np.uint8)).resize(size, Image.Resampling.NEAREST))
