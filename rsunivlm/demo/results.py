"""From an answer to what the page shows and offers for download."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor

from rsunivlm.demo.uploads import Upload
from rsunivlm.demo.vectors import to_geojson
from rsunivlm.drawing import draw_boxes, enlarge
from rsunivlm.inference.answer import Answer
from rsunivlm.inference.draw import draw_answer, mask_colours, render_answer

REGION = "#FFD600"  # a box that was asked about; boxes of an answer are red
VIEW_SIDE = 1600  # longer side in pixels of what is drawn


@dataclass(frozen=True)
class Result:
    """An answered question.

    Attributes:
        answer: The answer, boxes in pixels of the last uploaded file, whatever size it was read at.
        views: The last picture with the answer on it; for a pair, the first picture before it.
        files: What can be downloaded, by kind: `picture`, `json`, where there is a mask `mask`, where the
            image lies on the ground and the answer has geometry `geojson`.
    """

    answer: Answer
    views: tuple[Image.Image, ...]
    files: dict[str, Path]


def view(picture: Image.Image) -> Image.Image:
    """The picture, or a copy reduced to `VIEW_SIDE`, for the page."""
    scale = VIEW_SIDE / max(picture.size)
    if scale >= 1:
        return picture
    return picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))


def view_pair(before: Image.Image, after: Image.Image) -> tuple[Image.Image, Image.Image]:
    """Both at the size of the second, so that a slider can lay one over the other."""
    shown = view(after)
    return before.resize(shown.size), shown


def make_result(
    scenes: Sequence[Upload],
    prompt: str,
    answer: Answer,
    folder: Path,
    *,
    region_px: np.ndarray | None = None,
) -> Result:
    """Draw an answer and write its files into an existing folder.

    Args:
        scenes: The uploads, one or before and after.
        prompt: What was asked.
        answer: Boxes and mask in pixels of the last scene's picture.
        folder: Where the files go.
        region_px: Boxes [K, 4] that the prompt asked about, in pixels of the last scene's picture.
    """
    asked = scenes[-1]
    shown = view(asked.picture)
    across, down = shown.width / asked.picture.width, shown.height / asked.picture.height
    if region_px is not None:
        shown, enlarged = enlarge(shown)
        across, down = across * enlarged, down * enlarged
        draw_boxes(shown, region_px * [across, down, across, down], REGION)
    at_view = _scaled(answer, across, down)
    drawn = draw_answer(shown, at_view)
    views = (drawn,) if len(scenes) == 1 else (scenes[0].picture.resize(drawn.size), drawn)
    sheet = render_answer([*(view(scene.picture) for scene in scenes[:-1]), shown], prompt, at_view)

    stem = re.sub(r"[^\w-]+", "_", Path(asked.name).stem)[:60] or "image"
    files = {"picture": folder / f"{stem}_answer.png", "json": folder / f"{stem}_answer.json"}
    sheet.save(files["picture"])
    at_file = _scaled(answer, asked.size[0] / asked.picture.width, asked.size[1] / asked.picture.height)
    images = [{"name": scene.name, "size": list(scene.size)} for scene in scenes]
    written = {"images": images, "prompt": prompt, **at_file.to_json()}
    files["json"].write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    if answer.mask is not None:
        files["mask"] = folder / f"{stem}_mask.png"
        _mask_picture(answer).save(files["mask"])
    if asked.place is not None and answer.route.task.answer_kind != "text":
        files["geojson"] = folder / f"{stem}_answer.geojson"
        files["geojson"].write_text(json.dumps(to_geojson(answer, asked.place)), encoding="utf-8")
    return Result(at_file, views, files)


def _scaled(answer: Answer, across: float, down: float) -> Answer:
    if answer.boxes_px is None:
        return answer
    return replace(answer, boxes_px=answer.boxes_px * np.array([across, down, across, down]))


def _mask_picture(answer: Answer) -> Image.Image:
    """The mask as a palette picture: the values are class indices, the colours those of the page."""
    assert answer.mask is not None
    picture = Image.fromarray(answer.mask.astype(np.uint8))
    colours = ["black", *mask_colours(answer).values()]
    picture.putpalette([value for colour in colours for value in ImageColor.getrgb(colour)])
    return picture
