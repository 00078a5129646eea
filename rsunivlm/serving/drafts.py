"""A question as it came in: its images still files, its prompt perhaps in need of an image's size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rsunivlm.images import image_size, open_image
from rsunivlm.inference.answer import Request
from rsunivlm.serving.errors import ApiError
from rsunivlm.serving.settings import BYTES_PER_PIXEL, COPIES_IN_DECODING
from rsunivlm.tasks import IMAGE_MARK, Task, render_prompt, with_token

if TYPE_CHECKING:
    from PIL import Image

    from rsunivlm.inference.frontend import Frontend
    from rsunivlm.serving.admission import Gate, Ticket


@dataclass(frozen=True)
class Draft:
    """What an endpoint has read.

    Attributes:
        files: Image files.
        request: The question, without its images.
        box_px: A box (x1, y1, x2, y2) in pixels to describe, in place of a prompt.
        params: Names of the files in the client's request, for messages.
    """

    files: Sequence[bytes]
    request: Request
    box_px: tuple[float, float, float, float] | None = None
    params: Sequence[str] = ()


@dataclass(frozen=True)
class Question:
    """A request that the engine can take: `task` as routed, `prompt_tokens` with the image's."""

    request: Request
    task: Task
    prompt_tokens: int


def prepare(draft: Draft, frontend: Frontend, gate: Gate, ticket: Ticket) -> Question:
    """Open the images, complete the prompt, and refuse what the model would refuse. Runs in a thread.

    Raises:
        ApiError: 400 with the reason; 429 when the memory of all requests is full.
    """
    settings, request = gate.settings, draft.request
    _refuse_long_texts(request, settings.max_prompt_chars)
    if not 1 <= len(draft.files) <= 2:
        message = f"give one image, or two for a change task; got {len(draft.files)}"
        raise ApiError(400, "wrong_image_count", message)
    pictures = [
        _open(file, param, gate, ticket) for file, param in zip(draft.files, draft.params, strict=True)
    ]
    try:
        if draft.box_px is not None:
            box = frontend.box_codec.encode([draft.box_px], pictures[0].size)
            if not box:
                raise ApiError(400, "invalid_value", f"box: no area inside the image: {draft.box_px}", "box")
            request = replace(request, prompt=render_prompt(Task.REG, box=box))
        request = replace(request, images=pictures, max_seconds=settings.max_seconds)
        route = frontend.check(request)
        prompt = with_token(request.prompt.replace(IMAGE_MARK, "").strip(), route.task)
        turns = [*request.history, (prompt, None)]
        prompt_tokens = len(frontend.processor.encode_conversation(turns, len(pictures))[0])
    except ValueError as error:
        raise ApiError(400, "invalid_request", str(error)) from error
    ticket.task = str(route.task)
    return Question(request, route.task, prompt_tokens)


def _open(file: bytes, param: str, gate: Gate, ticket: Ticket) -> Image.Image:
    try:
        width, height = image_size(file, max_pixels=gate.settings.max_pixels)
        size = BYTES_PER_PIXEL * width * height
        gate.hold(ticket, COPIES_IN_DECODING * size)
        picture = open_image(file, max_pixels=gate.settings.max_pixels)
        gate.drop(ticket, (COPIES_IN_DECODING - 1) * size)
        return picture
    except ValueError as error:
        raise ApiError(400, "invalid_image", f"{param}: {error}", param) from error


def _refuse_long_texts(request: Request, limit: int) -> None:
    """By characters, so that a huge text costs no tokenising."""
    texts = [request.prompt, *(request.labels or ()), *(request.choices or ())]
    length = sum(map(len, texts)) + sum(len(prompt) + len(answer) for prompt, answer in request.history)
    if length > limit:
        message = f"the texts of the request have {length} characters, the limit is {limit}"
        raise ApiError(400, "context_length_exceeded", message)
