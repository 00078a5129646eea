"""The words of the page as HTML. Everything a visitor or a model wrote is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from rsunivlm.demo.uploads import Upload
from rsunivlm.inference.answer import Answer
from rsunivlm.inference.draw import mask_colours
from rsunivlm.tasks import RouteSource, Task

TASK_NAMES = {
    Task.SC: "scene class",
    Task.VQA: "question answering",
    Task.CAP: "caption",
    Task.VG: "grounding",
    Task.REG: "region description",
    Task.SS: "segmentation",
    Task.CC: "change caption",
    Task.CD: "change mask",
}
SOURCES: dict[RouteSource, str] = {
    "explicit": "you chose the task",
    "token": "task token in the prompt",
    "alias": "token of another model in the prompt",
    "structure": "a box in the prompt",
    "words": "words of the prompt",
    "default": "nothing in the prompt decided",
}


def empty_box(text: str) -> str:
    """A place holder where an image will be."""
    return f'<div class="rs-empty">{escape(text)}</div>'


def error_box(text: str) -> str:
    """An upload that cannot be shown."""
    return f'<div class="rs-empty rs-error" role="alert">{escape(text)}</div>'


def scene_line(scenes: Sequence[Upload]) -> str:
    """Name, size and reading notes of each upload."""
    lines = [
        f"<b>{escape(scene.name)}</b>"
        + "".join(f" · {escape(note)}" for note in (f"{scene.size[0]} x {scene.size[1]} px", *scene.notes))
        for scene in scenes
    ]
    if len(lines) == 2:
        lines = [f"Before (left): {lines[0]}", f"After (right): {lines[1]}"]
    return f'<div class="rs-scene">{"<br>".join(lines)}</div>' if lines else ""


def answer_html(answer: Answer) -> str:
    """The answer in words, its legend, what it was put together from, what went wrong, and the route."""
    parts = (_headline, _boxes, _legend, _drafts, _warnings, _route)
    return "".join(part(answer) for part in parts)


def _headline(answer: Answer) -> str:
    if answer.boxes_px is not None:
        count = len(answer.boxes_px)
        text = f"{count} box{'es' if count != 1 else ''} found" if count else "No box could be read"
    elif answer.mask is not None:
        seen = [label for label, share in answer.mask_shares().items() if share and label != answer.labels[0]]
        text = f"Mask of {', '.join(seen)}" if seen else "The mask is empty: nothing was found"
    else:
        text = answer.text or "(the model wrote nothing)"
    return f'<p class="rs-answer">{escape(text)}</p>'


def _boxes(answer: Answer) -> str:
    if answer.boxes_px is None:
        return ""
    rows = [f"{x1:.0f}, {y1:.0f} to {x2:.0f}, {y2:.0f} px" for x1, y1, x2, y2 in answer.boxes_px.tolist()]
    return "".join(f'<p class="rs-detail">{row}</p>' for row in rows)


def _legend(answer: Answer) -> str:
    if answer.mask is None:
        return ""
    shares, colours = answer.mask_shares(), mask_colours(answer)
    items = [
        f'<li><span class="rs-swatch" style="background: {colours.get(label, "transparent")}"></span>'
        f"{escape(label)} <b>{share:.1%}</b></li>"
        for label, share in shares.items()
    ]
    return f'<ul class="rs-legend" aria-label="Legend of the mask">{"".join(items)}</ul>'


def _drafts(answer: Answer) -> str:
    drafts = answer.drafts or {}
    return "".join(
        f'<p class="rs-detail"><b>{escape(name)}</b> {escape(text)}</p>' for name, text in drafts.items()
    )


def _warnings(answer: Answer) -> str:
    texts = []
    if not answer.finished:
        texts.append("The answer was cut at the limit of time or length.")
    if answer.report is not None and not answer.report.clean:
        texts.append("The model's text was not well-formed and was repaired: " + _repairs(answer))
    return "".join(f'<p class="rs-warning">{escape(text)}</p>' for text in texts)


def _repairs(answer: Answer) -> str:
    notes = "; ".join(answer.report.notes) if answer.report is not None else ""
    return f"{notes}." if notes else "see the model's text."


def _route(answer: Answer) -> str:
    route = answer.route
    by_pair = route.source == "structure" and route.task.num_images == 2
    facts = {
        "Task": f"{TASK_NAMES[route.task]} {route.task.token}",
        "Granularity": route.granularity.name.lower(),
        "Route": "two images" if by_pair else SOURCES[route.source],
        "Confidence": f"{route.confidence:.0%}",
    }
    chips = "".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())
    return f'<dl class="rs-route">{chips}</dl>'


def header(about: str) -> str:
    """Title and one line on the model."""
    return (
        '<div class="rs-header"><h1>RSUniVLM</h1>'
        "<p>Ask about aerial and satellite images: answers, boxes, masks, changes.</p>"
        f"<p>{escape(about)}</p></div>"
    )


def heading(text: str) -> str:
    """A line above a part of the page."""
    return f'<p class="rs-heading">{escape(text)}</p>'


def footer(text: str) -> str:
    """Small print."""
    return f'<p class="rs-footer">{escape(text)} Uploads are deleted within about an hour.</p>'
