"""The page's fields become a question, or an error that says what to change."""

from __future__ import annotations

import pytest

from rsunivlm.demo.limits import Limits
from rsunivlm.demo.questions import HINTS, TASK_CHOICES, compose_question
from rsunivlm.tasks import Task

LIMITS = Limits(max_prompt_chars=100, max_classes=3)


@pytest.mark.parametrize(
    ("prompt", "task", "classes", "num_images", "expected"),
    [
        ("[VG] the red ship", "", "", 1, ("[VG] the red ship", Task.VG, None, None)),
        ("the red ship", "vg", "", 1, ("the red ship", Task.VG, None, None)),
        ("segment it", "", " water , road,water,", 1, ("segment it", Task.SS, ("water", "road"), None)),
        ("segment it", "", "building", 2, ("segment it", Task.CD, ("building",), None)),
        ("Is it a port?", "", "yes, no", 1, ("Is it a port?", Task.VQA, None, ("yes", "no"))),
        ("", "cap", "", 1, ("[CAP] Describe this image in one sentence.", Task.CAP, None, None)),
        (
            "  ",
            "ss",
            "water",
            1,
            ("[SEG] Can you segment the water in this image?", Task.SS, ("water",), None),
        ),
    ],
)
def test_fields_become_a_question(
    prompt: str, task: str, classes: str, num_images: int, expected: tuple[object, ...]
) -> None:
    question = compose_question(prompt, task, classes, num_images, LIMITS)
    assert (question.prompt, question.route.task, question.labels, question.choices) == expected


def test_scene_classes_fill_the_prompt_and_close_the_answer() -> None:
    question = compose_question("", "sc", "port, sea", 1, LIMITS)
    assert "from: port, sea." in question.prompt
    assert question.choices == ("port", "sea")


@pytest.mark.parametrize(
    ("prompt", "task", "classes", "reason"),
    [
        ("", "", "", "write what you want to know"),
        ("", "vg", "", "write what you want to know"),
        ("", "ss", "", "give the classes"),
        ("the ship", "vg", "ship", "clear that field"),
        ("x" * 101, "", "", "101 characters"),
        ("segment", "", "a,b,c,d", "4 classes were given, at most 3"),
        ("the ship", "detect", "", "unknown task"),
    ],
)
def test_what_cannot_be_asked_is_told(prompt: str, task: str, classes: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        compose_question(prompt, task, classes, 1, LIMITS)


def test_every_task_can_be_chosen_and_has_a_hint() -> None:
    assert {value for _, value in TASK_CHOICES} == set(HINTS) == {"", *Task}
