"""A picture of samples with the truth in green and the answer in red.

Numbers hide whether a model fails by a pixel or by a field. The grid shows the worst, the best and some
seeded random samples, each with its question under it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from rsunivlm.images import open_image

Box = tuple[float, float, float, float]

TRUTH_COLOUR = (0, 230, 64)
ANSWER_COLOUR = (255, 32, 32)
TRUTH_LINE, ANSWER_LINE = 4, 2  # pixels
TILE = 320  # longer side of a shown image
MARGIN = 12
TITLE_HEIGHT = 40
CAPTION_LINES = 3
LINE_HEIGHT = 18
COLUMNS = 4
_BACKGROUND, _INK, _FAINT = (250, 250, 250), (25, 25, 25), (110, 110, 110)


@dataclass(frozen=True)
class Tile:
    """One sample of the picture: boxes in pixels of the image, a heading and a caption below it."""

    image: Path
    truth_px: Sequence[Box]
    answer_px: Sequence[Box]
    heading: str
    caption: str


def choose(scores: NDArray[np.float64], count: int = 12, seed: int = 0) -> list[tuple[int, str]]:
    """Pick samples to show: a third worst, a third best, the rest at random from what is left.

    Args:
        scores: Shape (N,), higher is better.
        count: Number of samples wanted; all of them when there are fewer.
        seed: Seed of the random third.

    Returns:
        Index and why it was chosen (``"worst"``, ``"best"``, ``"random"``), no index twice.
    """
    order = np.argsort(scores, kind="stable").tolist()
    third = min(count, len(order)) // 3
    worst, best, middle = order[:third], order[len(order) - third :][::-1], order[third : len(order) - third]
    drawn = np.random.default_rng(seed).permutation(middle)[: count - 2 * third].tolist()
    return [(i, "worst") for i in worst] + [(i, "best") for i in best] + [(int(i), "random") for i in drawn]


def draw_grid(tiles: Sequence[Tile], title: str) -> Image.Image:
    """Draw tiles in rows of four under a title with the legend.

    Raises:
        ValueError: An image cannot be read; the message names it.
    """
    title_font, font = ImageFont.load_default(18), ImageFont.load_default(14)
    samples = [_draw_sample(tile) for tile in tiles]
    rows = [range(start, min(start + COLUMNS, len(tiles))) for start in range(0, len(tiles), COLUMNS)]
    text_height = LINE_HEIGHT * (CAPTION_LINES + 1) + MARGIN
    row_heights = [max(samples[index].height for index in row) + text_height for row in rows]
    # A narrow grid still needs room for the title.
    width = MARGIN + max(min(COLUMNS, len(tiles)), 2) * (TILE + MARGIN)
    picture = Image.new("RGB", (width, TITLE_HEIGHT + sum(row_heights)), _BACKGROUND)
    draw = ImageDraw.Draw(picture)
    legend = width - 150
    draw.text((MARGIN, 10), _fit(title, title_font, legend - 2 * MARGIN), _INK, title_font)
    draw.text((legend, 10), "truth", TRUTH_COLOUR, title_font)
    draw.text((legend + 65, 10), "answer", ANSWER_COLOUR, title_font)
    top = TITLE_HEIGHT
    for row, height in zip(rows, row_heights, strict=True):
        for column, index in enumerate(row):
            x, y = MARGIN + column * (TILE + MARGIN), top + samples[index].height + 2
            picture.paste(samples[index], (x, top))
            draw.text((x, y), _fit(tiles[index].heading, font, TILE), _FAINT, font)
            for number, line in enumerate(_wrap(tiles[index].caption, font, TILE), 1):
                draw.text((x, y + number * LINE_HEIGHT), line, _INK, font)
        top += height
    return picture


def _draw_sample(tile: Tile) -> Image.Image:
    """The image scaled to `TILE` at its longer side, with its boxes."""
    image = open_image(tile.image)
    scale = TILE / max(image.size)
    shown = image.resize(
        (max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.BICUBIC
    )
    draw = ImageDraw.Draw(shown)
    # The answer is drawn thinner and last, so that both stay visible where they coincide.
    for boxes, colour, thickness in (
        (tile.truth_px, TRUTH_COLOUR, TRUTH_LINE),
        (tile.answer_px, ANSWER_COLOUR, ANSWER_LINE),
    ):
        for box in boxes:
            # The line runs around the box, so as not to cover a small object, where the image has room.
            x1, y1 = (max(round(value * scale) - thickness, 0) for value in box[:2])
            x2 = min(round(box[2] * scale) + thickness, shown.width - 1)
            y2 = min(round(box[3] * scale) + thickness, shown.height - 1)
            draw.rectangle((x1, y1, x2, y2), outline=colour, width=thickness)
    return shown


def _fit(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    """The text on one line, cut with an ellipsis where it is too long."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def _wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> list[str]:
    """Break a text at spaces into at most `CAPTION_LINES` lines; the last one is cut where it is too long."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or len(lines) == CAPTION_LINES or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return [_fit(line, font, width) for line in lines]
