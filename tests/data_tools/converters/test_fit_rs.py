"""FIT-RS: where the boxes stand decides, and both notations are read strictly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_tools.converter import Sample, Settings
from data_tools.converters.fit_rs import CONVERTERS
from data_tools.report import ConversionReport
from rsunivlm.tasks import Task

(FIT_RS,) = CONVERTERS
IMAGE = "0000__512__0___0.png"
CENTRE = "<rbox>({<50.00><40.00><40.00><20.00>|<90>})</rbox>"
BARE = "{<30><30><70><50>|<90>}"


@pytest.fixture
def convert(
    tmp_path: Path, save_image: Callable[..., Path], save_json: Callable[[str, Any], Path]
) -> Callable[..., tuple[list[Sample], ConversionReport]]:
    """Convert questions about one image, given as pairs with their answers."""

    def run(*asked: tuple[str, str], layout: str = "") -> tuple[list[Sample], ConversionReport]:
        records = [
            {
                "id": number,
                "image": IMAGE,
                "conversations": [
                    {"from": "human", "value": f"<image>\n{question}"},
                    {"from": "gpt", "value": answer},
                ],
            }
            for number, (question, answer) in enumerate(asked)
        ]
        save_json("FIT-RS-train-1415k.json", records)
        save_image(f"imgv2_split_512_100_vaild/{IMAGE}", (100, 100))
        assert FIT_RS.find_splits(tmp_path) == ("train",)
        report = ConversionReport("fit_rs")
        return list(FIT_RS.read("train", Settings(tmp_path, layout=layout), report)), report

    return run


@pytest.mark.parametrize(
    ("question", "answer", "task", "slots", "said"),
    [
        ("Describe the image.", "A <ref>dock</ref>.", Task.CAP, {}, "A dock."),
        ("Is it <ref>safe</ref>?", "Yes", Task.VQA, {"question": "Is it safe?"}, "Yes"),
        (
            "[detection]Find all ships.",
            f"There is 1 ship in the image: {CENTRE}",
            Task.VG,
            {"expression": "Find all ships."},
            "[40, 20, 60, 60]",
        ),
        (
            "Find all ships.",
            f"There are 2 <ref>ships</ref> in the image: {BARE}, {{<1><1><5><5>|<7>}}.",
            Task.VG,
            {"expression": "Find all ships."},
            "[30, 30, 70, 50], [1, 1, 5, 5]",
        ),
        (
            "Give a description of {<50><40><40><20><0>}.",
            "A <ref>ship</ref>.",
            Task.REG,
            {"box": "[30, 30, 70, 50]"},
            "A ship.",
        ),
    ],
)
def test_the_places_of_the_boxes_say_the_task(
    convert: Callable[..., Any], question: str, answer: str, task: Task, slots: dict[str, str], said: str
) -> None:
    (sample,), report = convert((question, answer))
    assert (sample.task, sample.slots, sample.answers) == (task, slots, (said,))
    assert not report.bad


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("[detection]Find all ships.", "I'm sorry, there are none.", "what is not in the image"),
        ("Find all.", f"There are 9 cars in the image: {CENTRE}, due to the context length", "cut short"),
        (f"Is {CENTRE} moored?", "Yes", "marked objects"),
        (f"Describe the relation of {CENTRE} to the pier.", "It is moored there.", "marked objects"),
        (f"What links {CENTRE} and {CENTRE}?", "They are near.", "text with boxes in it"),
        ("Describe the relations.", f"A ship {CENTRE} is <rel>at</rel> a pier {CENTRE}.", "text with boxes"),
    ],
)
def test_what_no_task_can_say_is_left_out(
    convert: Callable[..., Any], question: str, answer: str, reason: str
) -> None:
    samples, report = convert((question, answer))
    assert samples == []
    assert not report.bad
    ((found, count),) = report.left_out.items()
    assert count == 1
    assert reason in found


@pytest.mark.parametrize(
    ("box", "layout", "reason"),
    [
        ("{<50><40><40><20>|<90>}", "", "is reversed"),  # centre and sides taken for corners
        ("<rbox>({<9,9><4,4><2,2><1,1>})</rbox>", "", "cannot be read"),
        ("<rbox>({<50><40><40><20>})</rbox>", "", "has no angle"),
        ("<rbox>({<150><40><4><2>|<90>})</rbox>", "", "centre outside"),
        (CENTRE, "corners", "is reversed"),
    ],
)
def test_boxes_in_no_known_notation_are_bad(
    convert: Callable[..., Any], box: str, layout: str, reason: str
) -> None:
    samples, report = convert(("Find all ships.", f"There is 1 ship in the image: {box}"), layout=layout)
    assert samples == []
    (found,) = report.bad.values()
    assert reason in found


def test_the_user_can_say_which_notation_it_is(convert: Callable[..., Any]) -> None:
    asked = ("Find all ships.", f"There is 1 ship in the image: {BARE}")
    (sample,), _ = convert(
        asked, layout="centre"
    )  # 30, 30 is the middle of a box of 70 x 50, lying on its side
    assert sample.target["boxes_px"] == [[5.0, 0.0, 55.0, 65.0]]
    with pytest.raises(ValueError, match="--layout other is unknown"):
        convert(asked, layout="other")
