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
TILE = 320  # side of the square that holds one image
MARGIN = 12
TITLE_HEIGHT = 40
CAPTION_LINES = 3
LINE_HEIGHT = 18
COLUMNS = 4
_BACKGROUND, _INK, _FAINT = (250, 250, 250), (25, 25, 25), (110, 110, 110)
_LINE_WIDTH = 3


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
    cell_width, cell_height = TILE + MARGIN, TILE + LINE_HEIGHT * (CAPTION_LINES + 1) + MARGIN
    columns, rows = min(COLUMNS, len(tiles)), -(-len(tiles) // COLUMNS)
    # A narrow grid still needs room for the title.
    width = MARGIN + max(columns, 2) * cell_width
    picture = Image.new("RGB", (width, TITLE_HEIGHT + rows * cell_height), _BACKGROUND)
    draw = ImageDraw.Draw(picture)
    title_font, font = ImageFont.load_default(18), ImageFont.load_default(14)
    legend_width = 150
    draw.text((MARGIN, 10), _fit(title, title_font, width - legend_width - 2 * MARGIN), _INK, title_font)
    draw.text((width - legend_width, 10), "truth", TRUTH_COLOUR, title_font)
    draw.text((width - legend_width + 65, 10), "answer", ANSWER_COLOUR, title_font)
    for index, tile in enumerate(tiles):
        x = MARGIN + index % COLUMNS * cell_width
        y = TITLE_HEIGHT + index // COLUMNS * cell_height
        picture.paste(_draw_sample(tile), (x, y))
        draw.text((x, y + TILE + 2), _fit(tile.heading, font, TILE), _FAINT, font)
        for number, line in enumerate(_wrap(tile.caption, font, TILE), 1):
            draw.text((x, y + TILE + 2 + number * LINE_HEIGHT), line, _INK, font)
    return picture


def _draw_sample(tile: Tile) -> Image.Image:
    """The image scaled into the upper left of a square, boxes on top, the answer above the truth."""
    image = open_image(tile.image)
    scale = TILE / max(image.size)
    square = Image.new("RGB", (TILE, TILE), _BACKGROUND)
    shown = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    square.paste(image.resize(shown, Image.Resampling.BICUBIC), (0, 0))
    draw = ImageDraw.Draw(square)
    for boxes, colour in ((tile.truth_px, TRUTH_COLOUR), (tile.answer_px, ANSWER_COLOUR)):
        for box in boxes:
            x1, y1, x2, y2 = (min(TILE - 1, max(0, round(value * scale))) for value in box)
            # The colour must stay visible on grass and on roofs alike, hence the dark rim.
            draw.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=(0, 0, 0), width=_LINE_WIDTH + 2)
            draw.rectangle((x1, y1, x2, y2), outline=colour, width=_LINE_WIDTH)
    return square


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
