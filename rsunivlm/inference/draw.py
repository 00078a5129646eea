"""Draw an answer on its pictures: boxes, masks, a line of text."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from rsunivlm.drawing import PALETTE, blend_mask, draw_boxes, enlarge, side_by_side, wrap_text
from rsunivlm.inference.answer import Answer

ANSWER = "#FF1744"


def caption(picture: Image.Image, lines: Sequence[str]) -> Image.Image:
    """Put lines of text below a picture, wrapped to its width."""
    font = ImageFont.load_default(size=max(13, picture.width // 34))
    wrapped = [part for line in lines for part in wrap_text(line, font, picture.width - 12)]
    height = sum(font.getbbox("Ag")[3] + 4 for _ in wrapped) + 10
    sheet = Image.new("RGB", (picture.width, picture.height + round(height)), "white")
    sheet.paste(picture, (0, 0))
    ImageDraw.Draw(sheet).multiline_text(
        (6, picture.height + 4), "\n".join(wrapped), fill="black", font=font, spacing=4
    )
    return sheet


def draw_answer(picture: Image.Image, answer: Answer) -> Image.Image:
    """The picture, enlarged where it is small, with the answer's mask and boxes on it."""
    drawn, scale = enlarge(picture)
    if answer.mask is not None:
        drawn = blend_mask(drawn, answer.mask)
    if answer.boxes_px is not None:
        draw_boxes(drawn, answer.boxes_px, ANSWER, scale=scale)
    return drawn


def mask_colours(answer: Answer) -> dict[str, str]:
    """The colour that `draw_answer` gives each label of the mask; background has none."""
    return {label: PALETTE[index % len(PALETTE)] for index, label in enumerate(answer.labels[1:])}


def render_answer(pictures: Sequence[Image.Image], prompt: str, answer: Answer) -> Image.Image:
    """One sheet: the picture (or the pair, side by side) with the answer drawn on it."""
    shown = [enlarge(picture)[0] for picture in pictures[:-1]]
    shown.append(draw_answer(pictures[-1], answer))
    shares = ", ".join(f"{label} {share:.1%}" for label, share in answer.mask_shares().items())
    return caption(side_by_side(shown), [prompt, shares or answer.text])
