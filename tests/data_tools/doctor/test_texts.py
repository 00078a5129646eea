"""Texts against truths: hand-worked boxes and answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_tools.doctor.findings import Kind
from data_tools.doctor.texts import check_answer, check_box_readable, check_boxes
from rsunivlm.codecs import BoxCodec
from rsunivlm.data.records import Turn
from rsunivlm.tasks import Task

SIZE = (200, 50)


def kinds(task: Task, turn: Turn, target: dict, size: tuple[int, int] | None = SIZE) -> list[Kind]:
    return [kind for kind, _ in check_boxes(task, turn, target, size, BoxCodec())]


def grounding(answer: str, *boxes: list[float], stated: object = None) -> tuple[Task, Turn, dict]:
    size = list(SIZE) if stated is None else stated
    return Task.VG, Turn("[VG] it", answer), {"boxes_px": list(boxes), "image_size": size}


@pytest.mark.parametrize(
    ("answer", "boxes", "expected"),
    [
        ("[10, 20, 30, 40]", [[20, 10, 60, 20]], []),
        ("[10, 20, 30, 40]", [[20.9, 9.8, 60, 20.2]], []),  # within half a step of 2 and 0.5 pixels
        ("[10, 20, 30, 40]", [[22.1, 10, 60, 20]], [Kind.BOX_TEXT]),
        ("[20, 10, 40, 30]", [[20, 10, 60, 20]], [Kind.BOX_TEXT]),  # axes swapped
        ("[10, 20, 30, 40]", [[20, 10, 60, 20], [0, 0, 100, 25]], [Kind.BOX_TEXT]),
        ("[10, 20, 30, 40], [0, 0, 50, 50]", [[20, 10, 60, 20], [0, 0, 100, 25]], []),
        # The second box has no area on 0..100, so it cannot stand in the text.
        ("[10, 20, 30, 40]", [[20, 10, 60, 20], [100, 10, 100.2, 20]], []),
        # The evaluation form of such a box has decimals.
        ("[50.000000, 20.000000, 50.100000, 40.000000]", [[100, 10, 100.2, 20]], []),
        ("there is none", [[20, 10, 60, 20]], [Kind.BOX_TEXT]),
        ("[30, 20, 10, 40]", [[60, 10, 20, 20]], [Kind.BOX_REVERSED]),
        ("[10, 20, 100, 40]", [[20, 10, 201, 20]], [Kind.BOX_OUTSIDE]),
        ("[0, 20, 100, 40]", [[-1, 10, 200, 20]], [Kind.BOX_OUTSIDE]),
        ("[10, 20, 30, 40]", [[20, 10, 60]], [Kind.NO_TRUTH]),
        ("[10, 20, 30, 40]", [[20, 10, 60, float("nan")]], [Kind.NO_TRUTH]),
        ("[10, 20, 30, 40]", [], [Kind.NO_TRUTH]),
    ],
)
def test_grounding(answer: str, boxes: list[list[float]], expected: list[Kind]) -> None:
    assert kinds(*grounding(answer, *boxes)) == expected


def test_image_of_another_size() -> None:
    assert kinds(*grounding("[10, 20, 30, 40]", [20, 10, 60, 20]), size=(200, 51)) == [Kind.IMAGE_SIZE]
    assert kinds(*grounding("[10, 20, 30, 40]", [20, 10, 60, 20]), size=None) == []
    assert kinds(*grounding("[10, 20, 30, 40]", [20, 10, 60, 20], stated=[0, 50])) == [Kind.NO_TRUTH]


def test_region_description_has_its_box_in_the_prompt() -> None:
    turn = Turn("[REF] what is [10, 20, 30, 40]?", "a ship")
    target = {"box_px": [20, 10, 60, 20], "image_size": [200, 50], "references": ["a ship"]}
    assert kinds(Task.REG, turn, target) == []
    assert kinds(Task.REG, turn, target | {"box_px": [30, 10, 60, 20]}) == [Kind.BOX_TEXT]
    assert list(check_box_readable(turn, BoxCodec())) == []
    ((kind, _),) = check_box_readable(Turn("[REF] what is [10, 20, 30]?", "a ship"), BoxCodec())
    assert kind is Kind.BOX_TEXT


@given(
    st.integers(20, 5000),
    st.integers(20, 5000),
    st.lists(st.floats(0, 1), min_size=4, max_size=4),
    st.integers(0, 2),
)
def test_what_the_codec_writes_is_sound(width: int, height: int, shares: list[float], decimals: int) -> None:
    x1, x2 = sorted(share * width for share in shares[:2])
    y1, y2 = sorted(share * height for share in shares[2:])
    codec = BoxCodec(decimals=decimals)
    text = codec.encode([[x1, y1, x2, y2]], (width, height))
    if text:
        target = {"boxes_px": [[x1, y1, x2, y2]], "image_size": [width, height]}
        faults = check_boxes(Task.VG, Turn("[VG] it", text), target, (width, height), codec)
        assert list(faults) == []


@pytest.mark.parametrize(
    ("task", "answer", "target", "expected"),
    [
        (Task.SC, "pond", {"label": "pond", "classes": ["park", "pond"]}, []),
        (Task.SC, "park", {"label": "pond", "classes": ["park", "pond"]}, [Kind.ANSWER]),
        (Task.SC, "pond", {"label": "pond", "classes": ["park"]}, [Kind.NO_TRUTH]),
        (Task.VQA, "2", {"answer": "3"}, [Kind.ANSWER]),
        (Task.CAP, "a road .", {"references": ["a pond .", "a road ."]}, []),
        (Task.CC, "a road .", {"references": ["a pond ."]}, [Kind.ANSWER]),
        (Task.CC, "a", {"references": "a pond ."}, [Kind.ANSWER]),  # a text is no list of texts
    ],
)
def test_plain_answers(task: Task, answer: str, target: dict, expected: list[Kind]) -> None:
    assert [kind for kind, _ in check_answer(task, Turn("p", answer), target)] == expected
