"""Whether the text that a model learns says what the truth says: boxes and plain answers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from data_tools.doctor.findings import Kind
from rsunivlm.codecs import BoxCodec
from rsunivlm.data.records import Target, Turn
from rsunivlm.tasks import Task

Fault = tuple[Kind, str]
# Slack of the comparison in pixels, for coordinates that were rounded on their way through JSON.
_SLACK = 1e-3


def check_boxes(
    task: Task, turn: Turn, target: Target, size: tuple[int, int] | None, codec: BoxCodec
) -> Iterator[Fault]:
    """Check the boxes of a grounding answer or a region description prompt.

    Args:
        task: VG (boxes in the answer) or REG (one box in the prompt).
        turn: the text.
        target: the truth; holds the keys of the task.
        size: (width, height) of the image, None if unknown.
        codec: how the text was written.
    """
    stated = target["image_size"]
    boxes = target["boxes_px"] if task is Task.VG else [target["box_px"]]
    if not _is_size(stated) or not isinstance(boxes, list) or not boxes or not all(map(_is_box, boxes)):
        yield Kind.NO_TRUTH, f"image_size {stated!r} or boxes {boxes!r} are not made of finite numbers"
        return
    if size is not None and tuple(stated) != size:
        yield Kind.IMAGE_SIZE, f"targets say {stated[0]} x {stated[1]}, the image is {size[0]} x {size[1]}"
    faults = [fault for box in boxes if (fault := _box_fault(box, stated))]
    yield from faults
    if faults:
        return  # the text of such a box means nothing
    text = turn.answer if task is Task.VG else turn.prompt
    written = (stated[0], stated[1])
    if text == codec.encode(boxes, written):
        return
    decoded, report = codec.decode(text, written)
    half_step = np.tile(written, 2) / codec.range / 10**codec.decimals / 2 + _SLACK
    if len(decoded) != len(boxes) or not report.valid:
        yield Kind.BOX_TEXT, f"{len(decoded)} boxes in {text!r}, {len(boxes)} in the truth"
    elif (np.abs(decoded - np.array(boxes, float)) > half_step).any():
        yield Kind.BOX_TEXT, f"{text!r} is {_rounded(decoded)} px, the truth {_rounded(boxes)}"


def check_box_readable(turn: Turn, codec: BoxCodec) -> Iterator[Fault]:
    """Check that a region description's prompt holds one box, where no truth says which."""
    boxes, report = codec.decode_units(turn.prompt)
    if len(boxes) != 1 or not report.clean:
        yield Kind.BOX_TEXT, f"{len(boxes)} boxes can be read in {turn.prompt!r}, must be 1"


def check_answer(task: Task, turn: Turn, target: Target) -> Iterator[Fault]:
    """Check that a plain answer is (one of) the right one(s)."""
    if task in (Task.SC, Task.VQA):
        truth = target["label" if task is Task.SC else "answer"]
        right = [truth]
        if task is Task.SC and truth not in target.get("classes", [truth]):
            yield Kind.NO_TRUTH, f"label {truth!r} is not among the classes"
    else:
        right = target["references"]
    if not isinstance(right, list) or turn.answer not in right:
        yield Kind.ANSWER, f"says {turn.answer[:80]!r}, the truth is {str(right)[:120]}"


def _box_fault(box: list[float], size: list[int]) -> Fault | None:
    x1, y1, x2, y2 = box
    if x2 <= x1 or y2 <= y1:
        return Kind.BOX_REVERSED, f"box {box} has no area"
    if min(x1, y1) < -_SLACK or x2 > size[0] + _SLACK or y2 > size[1] + _SLACK:
        return Kind.BOX_OUTSIDE, f"box {box} reaches beyond the {size[0]} x {size[1]} image"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(_is_number, value))


def _is_size(value: Any) -> bool:
    return (
        isinstance(value, list) and len(value) == 2 and all(_is_number(side) and side >= 1 for side in value)
    )


def _rounded(boxes: Any) -> list[list[float]]:
    return np.round(np.asarray(boxes, float), 1).tolist()
