"""A picture of samples with the truth in green and the answer in red.

Numbers hide whether a model fails by a pixel or by a field. The grid shows the worst, the best and some
seeded random samples, each with its question under it. Boxes are drawn as frames. Of masks, the answer is a
red tint and the truth a green outline, so that both can be seen where they coincide. Pairs stand side by
side, before and after; what is drawn belongs to the second image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from eval.metrics.masks import Rle, decode
from rsunivlm.drawing import (
    blend_mask,
    fit_side,
    fit_text,
    frame_boxes,
    outline_mask,
    side_by_side,
    wrap_text,
)
from rsunivlm.images import open_image

Box = tuple[float, float, float, float]

TRUTH_COLOUR = (0, 230, 64)
ANSWER_COLOUR = (255, 32, 32)
TRUTH_LINE, ANSWER_LINE = 4, 2  # pixels
TINT = 0.45  # weight of the answer's colour within its mask
TILE = 320  # longer side of a shown image
MARGIN = 12
PAIR_GAP = 4
TITLE_HEIGHT = 40
CAPTION_LINES = 3
LINE_HEIGHT = 18
COLUMNS = 4
_BACKGROUND, _INK, _FAINT = (250, 250, 250), (25, 25, 25), (110, 110, 110)


@dataclass(frozen=True)
class Tile:
    """One sample of the picture.

    Attributes:
        image: the image, of a pair the second one.
        truth_px: true boxes in its pixels.
        answer_px: answered boxes in its pixels.
        heading: first line below the image.
        caption: more lines.
        before: of a pair the first image.
        truth_mask: true mask of the image's size.
        answer_mask: answered mask of the image's size.
    """

    image: Path
    truth_px: Sequence[Box]
    answer_px: Sequence[Box]
    heading: str
    caption: str
    before: Path | None = None
    truth_mask: Rle | None = None
    answer_mask: Rle | None = None


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
    """Draw tiles in rows of four (pairs: of two) under a title with the legend.

    Raises:
        ValueError: An image cannot be read; the message names it.
    """
    title_font, font = ImageFont.load_default(18), ImageFont.load_default(14)
    samples = [draw_sample(tile) for tile in tiles]
    pairs = any(tile.before is not None for tile in tiles)
    tile_width, columns = (2 * TILE + PAIR_GAP, COLUMNS // 2) if pairs else (TILE, COLUMNS)
    rows = [range(start, min(start + columns, len(tiles))) for start in range(0, len(tiles), columns)]
    text_height = LINE_HEIGHT * (CAPTION_LINES + 1) + MARGIN
    row_heights = [max(samples[index].height for index in row) + text_height for row in rows]
    # A narrow grid still needs room for the title.
    width = max(MARGIN + min(columns, len(tiles)) * (tile_width + MARGIN), 3 * MARGIN + 2 * TILE)
    picture = Image.new("RGB", (width, TITLE_HEIGHT + sum(row_heights)), _BACKGROUND)
    draw = ImageDraw.Draw(picture)
    legend = width - 150
    draw.text((MARGIN, 10), fit_text(title, title_font, legend - 2 * MARGIN), _INK, title_font)
    draw.text((legend, 10), "truth", TRUTH_COLOUR, title_font)
    draw.text((legend + 65, 10), "answer", ANSWER_COLOUR, title_font)
    top = TITLE_HEIGHT
    for row, height in zip(rows, row_heights, strict=True):
        for column, index in enumerate(row):
            x, y = MARGIN + column * (tile_width + MARGIN), top + samples[index].height + 2
            picture.paste(samples[index], (x, top))
            draw.text((x, y), fit_text(tiles[index].heading, font, tile_width), _FAINT, font)
            for number, line in enumerate(
                wrap_text(tiles[index].caption, font, tile_width, CAPTION_LINES), 1
            ):
                draw.text((x, y + number * LINE_HEIGHT), line, _INK, font)
        top += height
    return picture


def draw_sample(tile: Tile) -> Image.Image:
    """The image with its boxes and masks, to the right of the one before it where there is one."""
    shown, scale = fit_side(open_image(tile.image), TILE)
    if tile.answer_mask is not None:
        shown = blend_mask(shown, decode(tile.answer_mask), opacity=TINT, colours=(ANSWER_COLOUR,))
    if tile.truth_mask is not None:
        shown = outline_mask(shown, decode(tile.truth_mask), TRUTH_COLOUR)
    # The answer is drawn thinner and last, so that both stay visible where they coincide.
    frame_boxes(shown, tile.truth_px, TRUTH_COLOUR, TRUTH_LINE, scale=scale)
    frame_boxes(shown, tile.answer_px, ANSWER_COLOUR, ANSWER_LINE, scale=scale)
    if tile.before is None:
        return shown
    return side_by_side([fit_side(open_image(tile.before), TILE)[0], shown], PAIR_GAP)
