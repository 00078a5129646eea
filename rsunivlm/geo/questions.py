"""What is asked about every tile: one question per class, or one question in all.

The same class is the name under which its pixels, boxes or answers appear in the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rsunivlm.codecs import MaskCodec
from rsunivlm.codecs.mask_text import label_fault, normal_label
from rsunivlm.inference.answer import Request
from rsunivlm.tasks import Task, parse_task, render_prompt, with_token

# Ids of classes are bytes; 0 is the background and 255 "no data".
MAX_CLASSES = 254


@dataclass(frozen=True)
class Question:
    """A question that every tile is asked.

    Attributes:
        name: the class, expression or prompt that its answers belong to.
        prompt: as the model gets it.
        task: of the answer.
        choices: the answers that are allowed; None leaves them open.
    """

    name: str
    prompt: str
    task: Task
    choices: tuple[str, ...] | None = None

    def about(self, images: Sequence[Any]) -> Request:
        """The question about the pictures of one tile."""
        labels = [self.name] if self.task.answer_kind == "mask" else None
        return Request(images, self.prompt, self.task, labels, self.choices)


def raster_task(name: str) -> Task:
    """The task of a name; "seg" is segmentation.

    Raises:
        ValueError: unknown, or region description, which needs a box for every question.
    """
    task = Task.SS if name.strip().lower() == "seg" else parse_task(name)
    if task is Task.REG:
        raise ValueError("task reg describes a box and cannot be asked of a whole raster")
    return task


def make_questions(task: Task, classes: Sequence[str], prompt: str | None) -> list[Question]:
    """The questions of a task.

    Args:
        task: from `raster_task`.
        classes: for masks and boxes, one question each; for scene classification the names to choose from.
        prompt: for question answering; may replace the prompt of captions and, for boxes, the classes.

    Raises:
        ValueError: classes or prompt are missing, not wanted, or cannot be written as labels.
    """
    if task in (Task.SS, Task.CD, Task.SC) and prompt is not None:
        raise ValueError(f"task {task} takes --classes, not --prompt")
    if task in (Task.VQA, Task.CAP, Task.CC) and classes:
        raise ValueError(f"task {task} takes --prompt, not --classes")
    if task in (Task.SS, Task.CD, Task.SC) and not classes:
        raise ValueError(f'task {task} needs --classes, e.g. --classes "building,road"')
    if task is Task.VG and bool(classes) == (prompt is not None):
        raise ValueError("task vg needs either --classes (what to box, one question each) or --prompt")
    if task is Task.VQA and prompt is None:
        raise ValueError('task vqa needs --prompt, e.g. --prompt "Is there a road?"')
    _check_classes(task, classes)
    if task is Task.SC:
        asked = render_prompt(task, classes=", ".join(classes))
        return [Question("scene", asked, task, tuple(classes))]
    if classes:
        if task is Task.VG:
            return [Question(name, render_prompt(task, expression=name), task) for name in classes]
        return [Question(name, render_prompt(task, label=name), task) for name in classes]
    asked = render_prompt(task) if prompt is None else with_token(prompt.strip(), task)
    return [Question(asked.removeprefix(task.token).strip(), asked, task)]


def _check_classes(task: Task, classes: Sequence[str]) -> None:
    if len(classes) > MAX_CLASSES:
        raise ValueError(f"--classes names {len(classes)} classes, the limit is {MAX_CLASSES}")
    seen: dict[str, str] = {}
    for name in classes:
        fault = label_fault(name)
        if fault is not None:
            raise ValueError(f"class {name!r} {fault} (--classes)")
        if task.answer_kind == "mask" and normal_label(name) == MaskCodec().background:
            raise ValueError(f"class {name!r} is what masks call their background; leave it out (--classes)")
        if normal_label(name) in seen:
            raise ValueError(
                f"classes {seen[normal_label(name)]!r} and {name!r} mean the same; name one (--classes)"
            )
        seen[normal_label(name)] = name
