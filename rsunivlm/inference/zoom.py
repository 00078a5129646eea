"""Asks for a mask twice: first in the whole image, then in a crop around what was found.

A grid of 24 x 24 cells draws a thing of a twentieth of the image with one or two cells. Asked again in a crop
around it, the thing has most of the grid. What lies outside the crop is background in the final mask.

This is for one thing, or things close together: a crop that spans the image shows nothing new; many things
far apart need tiles. A prompt that tells where in the image the thing is ("at the top left") is no longer
true in the crop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from rsunivlm.codecs import MaskReport
from rsunivlm.images import open_image
from rsunivlm.inference.answer import Answer, Request
from rsunivlm.tasks import Task, route

Ask: TypeAlias = Callable[[list[Request]], Sequence[Answer]]
Window: TypeAlias = tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels, the last two exclusive

LARGEST_CROP = 0.8  # of both sides; beyond it a second look would show little more than the first


def answer_zoomed(
    ask: Ask, requests: Sequence[Request], *, find: Literal["mask", "box"] = "mask"
) -> list[Answer]:
    """Answer questions for the mask of one class in two looks.

    Args:
        ask: gives the answers to requests, in their order: the `answer_batch` of a predictor.
        requests: questions for masks, each with one label, about an image or a pair of one size.
        find: what says where to look again: the mask of the first look, or the boxes of the answer to
            ``[VG] label``, which is asked beside it (about single images only).

    Returns:
        The answers of the first look, with mask and report of the second where there was something to look
        at; their text is that of both, parted by an empty line. Where the first look finds nothing, or the
        second finds nothing or cannot be read, the first mask stays.

    Raises:
        ValueError: a request is not for the mask of one class, or its images cannot be cropped alike; names
            its prompt.
    """
    opened = [_opened(request, find) for request in requests]
    located = [_box_request(request) for request in opened] if find == "box" else []
    answers = list(ask([*opened, *located]))
    first, boxes = answers[: len(opened)], answers[len(opened) :]
    found = [answer.boxes_px for answer in boxes] if find == "box" else [_extent(answer) for answer in first]
    windows = [_window(answer, corners) for answer, corners in zip(first, found, strict=True)]
    again = [(place, window) for place, window in enumerate(windows) if window is not None]
    second = ask([_cropped(opened[place], window) for place, window in again]) if again else []
    for (place, window), closer in zip(again, second, strict=True):
        first[place] = _joined(first[place], closer, window)
    return first


def _opened(request: Request, find: str) -> Request:
    """The request with its images read; refuses one that cannot be looked at twice."""
    chosen = route(request.prompt, num_images=len(request.images), task=request.task)
    if chosen.task.answer_kind != "mask" or request.labels is None or len(request.labels) != 1:
        raise ValueError(f"a closer look needs a question for the mask of one label: {request.prompt!r}")
    if find == "box" and len(request.images) != 1:
        raise ValueError(f"[VG] boxes one image, not a pair; look where the mask is: {request.prompt!r}")
    images = [open_image(image) for image in request.images]
    if images[0].size != images[-1].size:
        raise ValueError(
            f"a pair needs images of one size to be cropped alike, got {images[0].size} and "
            f"{images[-1].size}: {request.prompt!r}"
        )
    return replace(request, images=images)


def _box_request(request: Request) -> Request:
    assert request.labels is not None
    return Request(request.images, request.labels[0], Task.VG)


def _extent(answer: Answer) -> npt.NDArray[np.float64]:
    """[1, 4] box around all that a mask shows, [0, 4] if that is nothing."""
    assert answer.mask is not None
    rows, columns = (np.flatnonzero(answer.mask.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return np.zeros((0, 4))
    return np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], dtype=np.float64)


def _window(answer: Answer, boxes_K4: npt.NDArray[np.float64] | None) -> Window | None:
    """The crop around all boxes and one more cell of the first look's grid; None where it is of no use."""
    assert answer.mask is not None
    assert isinstance(answer.report, MaskReport)
    if boxes_K4 is None or not len(boxes_K4):
        return None
    size = np.array(answer.mask.shape[::-1])
    cell = size / answer.report.rows_expected
    low = np.maximum(np.floor(boxes_K4[:, :2].min(axis=0) - cell), 0).astype(int)
    high = np.minimum(np.ceil(boxes_K4[:, 2:].max(axis=0) + cell), size).astype(int)
    if (high - low > LARGEST_CROP * size).all():
        return None
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _cropped(request: Request, window: Window) -> Request:
    return replace(request, images=[open_image(image).crop(window) for image in request.images])


def _joined(first: Answer, closer: Answer, window: Window) -> Answer:
    """The first answer with the mask of the closer look; unchanged where that shows nothing."""
    assert first.mask is not None
    assert closer.mask is not None
    if not closer.mask.any():  # also a closer look that could not be read
        return first
    x1, y1, x2, y2 = window
    mask = np.zeros_like(first.mask)
    mask[y1:y2, x1:x2] = closer.mask
    return replace(
        first,
        text=f"{first.text}\n\n{closer.text}",
        mask=mask,
        report=closer.report,
        finished=first.finished and closer.finished,
    )
