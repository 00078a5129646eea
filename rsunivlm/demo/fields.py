"""The left column of the page: what is asked about, and what is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import gradio as gr

from rsunivlm.demo.limits import Limits
from rsunivlm.demo.local_only import refuse_remote
from rsunivlm.demo.questions import AUTOMATIC, HINTS, task_choices
from rsunivlm.demo.uploads import FILE_TYPES
from rsunivlm.tasks import Task

ASK, WORKING = "Ask", "Working ..."


@dataclass(frozen=True)
class Fields:
    """The components that a visitor fills."""

    first: gr.File
    second: gr.File
    prompt: gr.Textbox
    task: gr.Dropdown
    classes: gr.Textbox
    bands: gr.Textbox
    button: gr.Button

    def all(self) -> list[gr.Component]:
        """What a question is made of, in the order of the arguments of `DemoService.ask`' page handler."""
        return [self.first, self.second, self.prompt, self.task, self.classes, self.bands]


def make_fields(limits: Limits, tasks: Sequence[Task]) -> Fields:
    """Lay out the column for a model that answers `tasks`; fields that none of them needs are hidden."""
    pairs = any(task.num_images == 2 for task in tasks)
    masks = any(task.answer_kind == "mask" for task in tasks)
    with gr.Row(elem_id="rs-uploads"):
        first, second = (
            refuse_remote(
                gr.File(label=label, file_types=list(FILE_TYPES), height=120, min_width=140, visible=visible)
            )
            for label, visible in (("Image", True), ("Second (after)", pairs))
        )
    task = gr.Dropdown(task_choices(tasks), value=AUTOMATIC, label="Task", filterable=False)
    length = limits.max_prompt_chars
    prompt = gr.Textbox(
        value="", label="Question", placeholder=HINTS[AUTOMATIC], max_length=length, elem_id="rs-prompt"
    )
    with gr.Accordion("Classes and bands" if masks else "Bands", open=False):
        classes = gr.Textbox(
            value="",
            label="Classes",
            info="Of a mask, or the only answers allowed; separated by commas",
            placeholder="building, water",
            max_length=length,
            visible=masks,
        )
        bands = gr.Textbox(
            value="",
            label="Bands of a GeoTIFF",
            info="Red, green, blue; empty takes those that the file names",
            placeholder="4, 3, 2",
            max_length=64,
        )
    button = gr.Button(ASK, variant="primary", elem_id="rs-ask")
    return Fields(first, second, prompt, task, classes, bands, button)
