"""The endpoint of each task: the question in words of the task, the answer as boxes, masks and labels.

A body has one image or two and either a whole `prompt` or the word that the task's template asks for:

    sc      classes                             text, one of them
    vqa     question, perhaps choices           text
    cap     nothing                             text
    vg      expression                          boxes_px
    reg     box: x1, y1, x2, y2 in pixels       text
    ss      label                               mask
    cc      nothing, two images                 text
    cd      label, two images                   mask
    auto    prompt; the router chooses a task   any of these

JSON bodies hold images as data URLs or base64; multipart bodies hold them as files, and lists as repeated
fields or with commas.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from rsunivlm.inference.answer import Answer, Request
from rsunivlm.serving.body import image_bytes
from rsunivlm.serving.drafts import Draft
from rsunivlm.serving.errors import ApiError, invalid_body
from rsunivlm.serving.masks import MaskFormat, write_mask
from rsunivlm.tasks import Task, parse_task, render_prompt

AUTO = "auto"
WORD = {
    Task.SC: "classes",
    Task.VQA: "question",
    Task.VG: "expression",
    Task.REG: "box",
    Task.SS: "label",
    Task.CD: "label",
}
WORDS = tuple(dict.fromkeys(WORD.values()))
LISTS = ("images", "classes", "labels", "choices", "box")


class TaskBody(BaseModel):
    """Body of a typed question; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")

    image: str | None = None
    images: list[str] | None = Field(None, min_length=1, max_length=2)
    prompt: str | None = Field(None, min_length=1)
    question: str | None = Field(None, min_length=1)
    expression: str | None = Field(None, min_length=1)
    label: str | None = Field(None, min_length=1)
    classes: list[str] | None = Field(None, min_length=1)
    box: tuple[float, float, float, float] | None = None
    labels: list[str] | None = None
    choices: list[str] | None = None
    max_new_tokens: int | None = Field(None, gt=0)
    mask_format: MaskFormat = "rle"


def read_json(task_name: str, content: bytes) -> tuple[TaskBody, Draft]:
    """Read a JSON body.

    Raises:
        ApiError: 400 with the field at fault; 404 for an unknown task.
    """
    task = _task(task_name)
    try:
        body = TaskBody.model_validate_json(content)
    except ValidationError as error:
        raise invalid_body(error) from error
    texts = body.images or ([] if body.image is None else [body.image])
    if body.image is not None and body.images is not None:
        raise ApiError(400, "invalid_value", "give `image` or `images`, not both", "images")
    params = [f"images[{index}]" for index in range(len(texts))] if body.images else ["image"] * len(texts)
    files = [image_bytes(text, param, plain=True) for text, param in zip(texts, params, strict=True)]
    return body, _draft(task, body, files, params)


def read_multipart(task_name: str, content: bytes, content_type: str) -> tuple[TaskBody, Draft]:
    """Read a multipart body with one or two files named `image`; for use in a thread.

    Raises:
        ApiError: As `read_json`.
    """
    task = _task(task_name)
    if "boundary=" not in content_type:
        raise ApiError(400, "invalid_form", "the content type multipart/form-data names no boundary")
    try:
        # The parser is asynchronous; here, in a thread, it has a loop of its own.
        files, fields = asyncio.run(_parse_form(content, content_type))
        body = TaskBody.model_validate(fields)
    except MultiPartException as error:
        raise ApiError(400, "invalid_form", f"not a readable form: {error.message}") from error
    except ValidationError as error:
        raise invalid_body(error) from error
    params = [f"image, file {number}" for number in range(1, len(files) + 1)]
    return body, _draft(task, body, files, params)


async def _parse_form(content: bytes, content_type: str) -> tuple[list[bytes], dict[str, Any]]:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield content

    parser = MultiPartParser(
        Headers({"content-type": content_type}), stream(), max_files=2, max_part_size=len(content)
    )
    form = await parser.parse()
    try:
        return [file.file.read() for file in _files(form)], _fields(form)
    finally:
        await form.close()


def _files(form: FormData) -> list[UploadFile]:
    return [value for name, value in form.multi_items() if name == "image" and isinstance(value, UploadFile)]


def _fields(form: FormData) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name != "image":
                raise ApiError(400, "invalid_form", f"the file {name!r} is not known; name it 'image'", name)
        elif name in LISTS:
            fields.setdefault(name, []).extend(part.strip() for part in value.split(","))
        else:
            fields[name] = value
    return fields


def _task(name: str) -> Task | None:
    """The task of an address; None leaves it to the router."""
    if name == AUTO:
        return None
    try:
        return parse_task(name)
    except ValueError as error:
        raise ApiError(404, "unknown_task", f"{error}, {AUTO}", "task") from error


def _draft(task: Task | None, body: TaskBody, files: list[bytes], params: list[str]) -> Draft:
    word = None if task is None else WORD.get(task)
    given = [name for name in WORDS if getattr(body, name) is not None]
    if body.prompt is not None and given:
        raise ApiError(400, "invalid_value", f"give `prompt` or `{given[0]}`, not both", given[0])
    if foreign := [name for name in given if name != word]:
        message = f"task {task or AUTO} takes no `{foreign[0]}`" + (f"; it takes `{word}`" if word else "")
        raise ApiError(400, "invalid_value", message, foreign[0])
    if body.prompt is None and (task is None or (word is not None and not given)):
        message = f"task {task or AUTO} needs a `prompt`" + (f" or `{word}`" if word else "")
        raise ApiError(400, "missing_value", message, word or "prompt")
    request = Request(
        images=(),
        prompt=body.prompt or ("" if body.box else _render(task, word, body)),
        task=task,
        labels=body.labels or ([body.label] if body.label else None),
        choices=body.choices or body.classes,
        max_new_tokens=body.max_new_tokens,
    )
    return Draft(files, request, body.box, params)


def _render(task: Task | None, word: str | None, body: TaskBody) -> str:
    assert task is not None
    if word is None:
        return render_prompt(task)
    value = getattr(body, word)
    slots: dict[str, str] = {word: value if isinstance(value, str) else ", ".join(value)}
    return render_prompt(task, template=0, **slots)


def write_answer(answer: Answer, usage: dict[str, int], mask_format: MaskFormat) -> bytes:
    """An answer as JSON; masks take a while, so run it in a thread."""
    result = answer.to_json()
    if answer.mask is not None:
        result["labels"] = list(answer.labels)
        if mask_format != "none":
            result["mask"] = write_mask(answer.mask, answer.labels, mask_format)
    if answer.report is not None:
        result["report"] = asdict(answer.report)
    return json.dumps({**result, "usage": usage}).encode()
