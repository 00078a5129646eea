"""Draw answers on pictures: boxes, masks, a line of text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from rsunivlm.inference.answer import Answer

# Distinct on imagery, colour-blind safe (Okabe and Ito 2008).
PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
ANSWER = "#FF1744"
MIN_SIDE = 480  # small pictures are enlarged so that lines and letters can be read


def enlarge(picture: Image.Image, min_side: int = MIN_SIDE) -> tuple[Image.Image, float]:
    """Scale a small picture up; returns it and the factor (at least 1)."""
    scale = max(1.0, min_side / min(picture.size))
    size = (round(picture.width * scale), round(picture.height * scale))
    return picture.convert("RGB").resize(size, Image.Resampling.BICUBIC), scale


def draw_boxes(picture: Image.Image, boxes_px: np.ndarray, colour: str, *, scale: float = 1.0) -> None:
    """Outline boxes [K, 4] (x1, y1, x2, y2 before scaling) in place, dark-rimmed to show on any ground."""
    draw = ImageDraw.Draw(picture)
    width = max(2, round(min(picture.size) / 160))
    for box in np.asarray(boxes_px, dtype=float).reshape(-1, 4) * scale:
        outer = [box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1]
        draw.rectangle(outer, outline="black", width=width + 2)
        draw.rectangle(box.tolist(), outline=colour, width=width)


def blend_mask(picture: Image.Image, mask: np.ndarray, *, opacity: float = 0.45) -> Image.Image:
    """Tint the pixels of each class index above 0; the mask [H, W] is scaled to the picture."""
    indices = np.asarray(
        Image.fromarray(mask.astype(np.uint8)).resize(picture.size, Image.Resampling.NEAREST)
    )
    pixels = np.asarray(picture.convert("RGB")).astype(np.float32)
    for index in range(1, int(indices.max(initial=0)) + 1):
        colour = np.array(ImageColor.getrgb(PALETTE[(index - 1) % len(PALETTE)]), dtype=np.float32)
        chosen = indices == index
        pixels[chosen] = (1 - opacity) * pixels[chosen] + opacity * colour
    return Image.fromarray(pixels.round().astype(np.uint8))


def caption(picture: Image.Image, lines: Sequence[str]) -> Image.Image:
    """Put lines of text below a picture, wrapped to its width."""
    font = ImageFont.load_default(size=max(13, picture.width // 34))
    draw = ImageDraw.Draw(picture)
    wrapped = [part for line in lines for part in _wrap(draw, line, font, picture.width - 12)]
    height = sum(font.getbbox("Ag")[3] + 4 for _ in wrapped) + 10
    sheet = Image.new("RGB", (picture.width, picture.height + round(height)), "white")
    sheet.paste(picture, (0, 0))
    ImageDraw.Draw(sheet).multiline_text(
        (6, picture.height + 4), "\n".join(wrapped), fill="black", font=font, spacing=4
    )
    return sheet


def render_answer(pictures: Sequence[Image.Image], prompt: str, answer: Answer) -> Image.Image:
    """One sheet: the picture (or the pair, side by side) with the answer drawn on it."""
    shown = []
    for index, picture in enumerate(pictures):
        large, scale = enlarge(picture)
        if index == len(pictures) - 1:
            if answer.mask is not None:
                large = blend_mask(large, answer.mask)
            if answer.boxes_px is not None:
                draw_boxes(large, answer.boxes_px, ANSWER, scale=scale)
        shown.append(large)
    row = Image.new("RGB", (sum(p.width for p in shown), max(p.height for p in shown)), "white")
    left = 0
    for picture in shown:
        row.paste(picture, (left, 0))
        left += picture.width
    shares = ", ".join(f"{label} {share:.1%}" for label, share in answer.mask_shares().items())
    return caption(row, [prompt, shares or answer.text])


def _wrap(
    draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int
) -> list[str]:
    lines, current = [], ""
    for word in text.split():
        candidate = f"{current} {word}".strip()
        if current and draw.textlength(candidate, font=font) > width:
            lines.append(current)
            candidate = word
        current = candidate
    return [*lines, current]
