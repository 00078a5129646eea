"""The page: its layout, and what its fields and its button set off.

Between the press of the button and the answer the button is locked and the last answer is gone, so that
nothing on the page belongs to another question.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import gradio as gr

from rsunivlm.demo import markup
from rsunivlm.demo.examples import Example
from rsunivlm.demo.fields import ASK, WORKING, Fields, make_fields
from rsunivlm.demo.frame import Frame, Updates, make_frame, show_answer, show_drawn, show_error, show_scenes
from rsunivlm.demo.questions import HINTS
from rsunivlm.demo.service import DemoService

CACHE_SECONDS = (600, 3600)  # every ten minutes, files older than an hour are deleted
# On a phone the result lies below the fields.
SCROLL_TO_RESULT = """() => {
  if (window.innerWidth < 768) document.getElementById('rs-result').scrollIntoView({behavior: 'smooth'});
}"""
# Gradio's own API stays closed; programs have `rsunivlm serve`.
QUIET = {"api_visibility": "private", "show_progress": "hidden"}


def build_page(service: DemoService, about: str, examples: Sequence[Example] = ()) -> gr.Blocks:
    """Lay out the page.

    Args:
        service: Answers the questions.
        about: One line on the model, shown below the title.
        examples: Questions to try; none hides their gallery.
    """
    with gr.Blocks(title="RSUniVLM", analytics_enabled=False, delete_cache=CACHE_SECONDS) as page:
        gr.HTML(markup.header(about))
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=320):
                fields = make_fields(service.limits, service.predictor.tasks)
                gallery = _make_gallery(examples)
            with gr.Column(scale=3, min_width=320, elem_id="rs-result"):
                frame = make_frame()
        _react_to_uploads(service, fields, frame)
        _react_to_the_button(service, fields, frame)
        fields.task.change(_hint, fields.task, fields.prompt, queue=False, **QUIET)
        _react_to_the_gallery(service, examples, gallery, fields, frame)
        gr.HTML(markup.footer(service.limits.summary()))
    return page


def _hint(task: str) -> gr.Textbox:
    return gr.Textbox(placeholder=HINTS[task])


def _preview(service: DemoService, first: str | None, second: str | None, bands: str) -> Updates:
    """Show the uploads, or in their place what is wrong with them."""
    try:
        return show_scenes(service.read([first, second], bands))
    except ValueError as error:
        return show_error(str(error))


def _react_to_uploads(service: DemoService, fields: Fields, frame: Frame) -> None:
    def changed(first: str | None, second: str | None, bands: str) -> Updates:
        return [*_preview(service, first, second, bands), *show_answer(None)]

    events = [event for file in (fields.first, fields.second) for event in (file.upload, file.clear)]
    gr.on(
        [*events, fields.bands.submit, fields.bands.blur],
        changed,
        [fields.first, fields.second, fields.bands],
        [*frame.pictures, *frame.answer],
        **QUIET,
    )


def _react_to_the_button(service: DemoService, fields: Fields, frame: Frame) -> None:
    def lock() -> Updates:
        return [gr.Button(WORKING, interactive=False), *show_answer(None)]

    def ask(
        first: str | None, second: str | None, prompt: str, task: str, classes: str, bands: str
    ) -> Updates:
        try:
            result = service.ask([first, second], prompt, task, classes, bands)
        except ValueError as error:
            # Gradio shows messages as HTML, and they may quote a visitor.
            raise gr.Error(escape(str(error), quote=False), print_exception=False) from error
        return [*show_drawn(result), *show_answer(result)]

    def unlock() -> gr.Button:
        return gr.Button(ASK, interactive=True)

    pressed = gr.on(
        [fields.button.click, fields.prompt.submit, fields.classes.submit],
        lock,
        None,
        [fields.button, *frame.answer],
        queue=False,
        **QUIET,
    )
    answered = pressed.then(
        ask,
        fields.all(),
        [*frame.pictures, *frame.answer],
        concurrency_id="model",
        concurrency_limit=1,  # one model, one question at a time
        api_visibility="private",
        show_progress_on=frame.pictures[1:3],
    )
    answered.success(unlock, None, fields.button, queue=False, js=SCROLL_TO_RESULT, **QUIET)
    answered.failure(unlock, None, fields.button, queue=False, **QUIET)


def _make_gallery(examples: Sequence[Example]) -> gr.Gallery:
    gr.HTML(markup.heading("Examples: press one, then Ask"), visible=bool(examples))
    return gr.Gallery(
        [(example.thumbnail(), example.caption) for example in examples],
        show_label=False,
        container=False,
        visible=bool(examples),
        allow_preview=False,
        interactive=False,
        buttons=[],
        elem_id="rs-examples",
    )


def _react_to_the_gallery(
    service: DemoService, examples: Sequence[Example], gallery: gr.Gallery, fields: Fields, frame: Frame
) -> None:
    def take(chosen: gr.SelectData) -> Updates:
        example = examples[chosen.index]
        first, second = (*map(str, example.paths()), None)[:2]
        filled = [first, second, example.prompt, example.task, example.classes, ""]
        return [*filled, *_preview(service, first, second, ""), *show_answer(None)]

    gallery.select(take, None, [*fields.all(), *frame.pictures, *frame.answer], **QUIET)
