"""From the fields of the page to a question: prompt, task and classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rsunivlm.demo.limits import Limits
from rsunivlm.tasks import TEMPLATES, Route, Task, render_prompt, route

AUTOMATIC = ""
TASK_CHOICES = (
    ("Automatic (from the prompt)", AUTOMATIC),
    ("Scene class", "sc"),
    ("Question", "vqa"),
    ("Caption", "cap"),
    ("Find an object (box)", "vg"),
    ("Describe a region", "reg"),
    ("Segment (mask)", "ss"),
    ("Describe changes (two images)", "cc"),
    ("Mask of changes (two images)", "cd"),
)
HINTS = {
    AUTOMATIC: "In words, or with a task token, e.g. [CAP]",
    "sc": "Leave empty and give classes below",
    "vqa": "How many ships are there?",
    "cap": "Leave empty for a one-sentence caption",
    "vg": "the red ground track field",
    "reg": "what is [24, 35, 64, 62]?  (left, top, right, bottom: 0 to 100)",
    "ss": "Segment the water; or empty, with a class below",
    "cc": "Leave empty to ask what has changed",
    "cd": "Which areas of building have changed? Or empty, with a class below",
}


def task_choices(tasks: Sequence[Task]) -> list[tuple[str, str]]:
    """Titles and values of the tasks that a model answers, the automatic choice first."""
    return [(title, value) for title, value in TASK_CHOICES if value in (AUTOMATIC, *tasks)]


@dataclass(frozen=True)
class Question:
    """What is asked, ready for the predictor.

    Attributes:
        prompt: The visitor's words, or a template where there are none.
        route: Task and expert that the words lead to.
        labels: Classes a mask may hold; None leaves them to the model.
        choices: Closed list of answers; None leaves the answer open.
    """

    prompt: str
    route: Route
    labels: tuple[str, ...] | None = None
    choices: tuple[str, ...] | None = None


def compose_question(prompt: str, task: str, classes: str, num_images: int, limits: Limits) -> Question:
    """Read the fields of the page.

    Args:
        prompt: The visitor's words; may be empty for tasks with a fixed prompt.
        task: A value of `TASK_CHOICES`.
        classes: Comma-separated names: classes of a mask, or the only answers of a text task.
        num_images: How many images were given.
        limits: Bounds the length of the texts.

    Raises:
        ValueError: Nothing asked, a text too long, an unknown task, or classes that the task has no use for.
    """
    for name, text in (("prompt", prompt), ("list of classes", classes)):
        if len(text) > limits.max_prompt_chars:
            raise ValueError(
                f"the {name} has {len(text)} characters, at most {limits.max_prompt_chars} are read"
            )
    names = tuple(dict.fromkeys(name.strip() for name in classes.split(",") if name.strip()))
    if len(names) > limits.max_classes:
        raise ValueError(f"{len(names)} classes were given, at most {limits.max_classes} are read")
    prompt = prompt.strip() or _standard_prompt(task, names)
    chosen = route(prompt, num_images=num_images, task=task or None)
    if not names:
        return Question(prompt, chosen)
    if chosen.task.answer_kind == "mask":
        return Question(prompt, chosen, labels=names)
    if chosen.task in (Task.SC, Task.VQA):
        return Question(prompt, chosen, choices=names)
    raise ValueError(
        f"classes are for masks, scene classes and questions, not for task {chosen.task}; clear that field"
    )


def _standard_prompt(task: str, names: tuple[str, ...]) -> str:
    if task in (Task.CAP, Task.CC):
        return TEMPLATES[Task(task)][0]
    if task not in (Task.SC, Task.SS, Task.CD):
        raise ValueError("write what you want to know about the image")
    if not names:
        raise ValueError("write a question, or give the classes to choose from")
    listed = ", ".join(names)
    slot = {"classes": listed} if task == Task.SC else {"label": listed}
    return render_prompt(Task(task), template=0, **slot)
