"""The right column of the page: one frame that is preview and result, and below it the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL import Image

from rsunivlm.demo import markup
from rsunivlm.demo.results import Result, view, view_pair
from rsunivlm.demo.uploads import Upload

EMPTY = "Choose an image, a pair (before and after) or a GeoTIFF, or start from an example"
DOWNLOADS = {"picture": "Picture (PNG)", "mask": "Mask (PNG)", "json": "Answer (JSON)", "geojson": "GeoJSON"}
# Values for components, in the order of a list of them; gradio takes components as updates.
Updates = list[Any]


@dataclass(frozen=True)
class Frame:
    """The components that show something.

    Attributes:
        pictures: Message, single picture, slider of a pair, line on the uploads.
        answer: Answer, downloads, the accordion of the model's text and the text in it.
    """

    pictures: list[gr.Component]
    answer: list[gr.blocks.Block]


def make_frame() -> Frame:
    """Lay out the column, empty."""
    common = {"visible": False, "interactive": False, "format": "png", "buttons": ["fullscreen"]}
    pictures = [
        gr.HTML(markup.empty_box(EMPTY)),
        gr.Image(show_label=False, elem_id="rs-picture", **common),
        gr.ImageSlider(show_label=False, elem_id="rs-pair", **common),
        gr.HTML(),
    ]
    words = gr.HTML(elem_id="rs-answer")
    with gr.Row():
        downloads = [
            gr.DownloadButton(label, visible=False, size="sm", min_width=120, elem_id=f"rs-save-{kind}")
            for kind, label in DOWNLOADS.items()
        ]
    with gr.Accordion("What the model wrote", open=False, visible=False) as wording:
        text = gr.Textbox(show_label=False, lines=4, max_lines=12, buttons=["copy"])
    return Frame(pictures, [words, *downloads, wording, text])


def show_scenes(scenes: Sequence[Upload]) -> Updates:
    """Updates of `Frame.pictures` that preview what was uploaded."""
    pictures = [scene.picture for scene in scenes]
    views = view_pair(*pictures) if len(pictures) == 2 else [view(picture) for picture in pictures]
    return [
        gr.HTML(markup.empty_box(EMPTY), visible=not views),
        *_pictures(views),
        gr.HTML(markup.scene_line(scenes)),
    ]


def show_error(message: str) -> Updates:
    """Updates of `Frame.pictures` that say why an upload cannot be shown."""
    return [gr.HTML(markup.error_box(message), visible=True), *_pictures([]), gr.HTML("")]


def show_drawn(result: Result) -> Updates:
    """Updates of `Frame.pictures` after an answer; the line on the uploads stays."""
    return [gr.HTML(visible=False), *_pictures(result.views), gr.skip()]


def show_answer(result: Result | None) -> Updates:
    """Updates of `Frame.answer`; without a result they empty it."""
    files = result.files if result else {}
    return [
        gr.HTML(markup.answer_html(result.answer) if result else ""),
        *(gr.DownloadButton(value=files.get(kind), visible=kind in files) for kind in DOWNLOADS),
        gr.Accordion(visible=result is not None),
        gr.Textbox(result.answer.text if result else ""),
    ]


def _pictures(views: Sequence[Image.Image]) -> Updates:
    return [
        gr.Image(views[0] if len(views) == 1 else None, visible=len(views) == 1),
        gr.ImageSlider(tuple(views) if len(views) == 2 else None, visible=len(views) == 2),
    ]
