"""From a request to what the model needs: route, expert, token ids, and the identity of its images.

Everything that can be refused without looking at an image is refused here, before anything is computed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from rsunivlm.inference.answer import ImageLike, Request
from rsunivlm.tasks import IMAGE_MARK, Route, Task, route, with_token

if TYPE_CHECKING:
    from rsunivlm.models.rsunivlm.processing_rsunivlm import RSUniVLMProcessor


@dataclass(frozen=True)
class Prompt:
    """A request, ready to be answered.

    Attributes:
        request: What was asked.
        route: Task, and why.
        text: The words of the question with their task token, without image marks.
        expert: Index of the expert that reads the whole conversation.
        input_ids: Token ids, image placeholders counted out.
        shared: Tokens up to and including the last image placeholder: the same for all questions about
            these images.
        images: Identity of each image; the same picture given twice has one.
    """

    request: Request
    route: Route
    text: str
    expert: int
    input_ids: tuple[int, ...]
    shared: int
    images: tuple[Hashable, ...]


def choose_route(request: Request) -> Route:
    """Route a request and check what can be checked from its text.

    Raises:
        ValueError: No or too many images, image marks that do not match them, a task that wants another
            number of images, an unknown task, limits that are not positive.
    """
    count = len(request.images)
    if not 1 <= count <= 2:
        raise ValueError(f"give one image, or two for a change task; got {count}")
    marks = request.prompt.count(IMAGE_MARK)
    if marks not in (0, count):
        raise ValueError(
            f"the prompt has {marks} <image> marks but {count} images were given: {request.prompt!r}"
        )
    for name, limit in (("max_new_tokens", request.max_new_tokens), ("max_seconds", request.max_seconds)):
        if limit is not None and not limit > 0:
            raise ValueError(f"{name} must be above 0, got {limit}")
    chosen = route(request.prompt, num_images=count, task=request.task)
    if chosen.task.num_images != count and chosen.task is not Task.VQA:
        raise ValueError(
            f"task {chosen.task} ({chosen.task.token}) looks at {chosen.task.num_images} image(s), "
            f"{count} were given: {request.prompt!r}"
        )
    return chosen


def tokenise(request: Request, processor: RSUniVLMProcessor, max_length: int) -> tuple[Route, str, list[int]]:
    """Route and tokenise; images are not looked at.

    Args:
        request: The question.
        processor: Of the checkpoint.
        max_length: Positions that the model has; one at least must be left for the answer.

    Returns:
        The route, the prompt with its task token, and the token ids of the whole conversation.

    Raises:
        ValueError: See `choose_route`; a control token in the text; a prompt that is too long.
    """
    chosen = choose_route(request)
    text = with_token(request.prompt.replace(IMAGE_MARK, "").strip(), chosen.task)
    turns: list[tuple[str, str | None]] = [*request.history, (text, None)]
    input_ids, _ = processor.encode_conversation(turns, len(request.images))
    if len(input_ids) >= max_length:
        raise ValueError(
            f"the prompt is too long: {len(input_ids)} tokens with its image(s) and earlier turns, the model "
            f"has {max_length} positions for prompt and answer"
        )
    return chosen, text, input_ids


def prepare(
    request: Request,
    processor: RSUniVLMProcessor,
    max_length: int,
    num_experts: int,
    known: MutableMapping[int, Hashable],
) -> Prompt:
    """Route, tokenise and identify.

    Args:
        request: The question.
        processor: Of the checkpoint.
        max_length: Positions that the model has; one at least must be left for the answer.
        num_experts: Experts of the model; of one there is no choice.
        known: Identities of picture objects met before, by `id`; gains new ones. Spares reading the pixels
            of a picture again for every question about it.

    Raises:
        ValueError: See `tokenise`; an image file that is not there.
    """
    chosen, text, input_ids = tokenise(request, processor, max_length)
    last_image = len(input_ids) - 1 - input_ids[::-1].index(processor.image_token_id)
    return Prompt(
        request=request,
        route=chosen,
        text=text,
        expert=processor.expert_of(chosen.task, text) if num_experts > 1 else 0,
        input_ids=tuple(input_ids),
        shared=last_image + 1,
        images=tuple(_identity(image, known) for image in request.images),
    )


def _identity(image: ImageLike, known: MutableMapping[int, Hashable]) -> Hashable:
    """What tells an image from others without decoding it; a file by its name, size and time."""
    if isinstance(image, bytes):
        return hashlib.sha256(image).digest()
    if isinstance(image, Image.Image):
        if id(image) not in known:
            known[id(image)] = (image.mode, image.size, hashlib.sha256(image.tobytes()).digest())
        return known[id(image)]
    path = Path(image).resolve()
    if not path.is_file():
        raise ValueError(f"no such image file: {image}")
    status = path.stat()
    return str(path), status.st_size, status.st_mtime_ns
