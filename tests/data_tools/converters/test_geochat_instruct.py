"""GeoChat-Instruct: tokens, boxes under both readings, the parts that benchmarks test on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_tools.converter import Sample, Settings
from data_tools.converters.geochat_instruct import CONVERTERS
from data_tools.report import ConversionReport
from rsunivlm.tasks import Task

(GEOCHAT,) = CONVERTERS


def record(image: str, *texts: str) -> dict[str, Any]:
    turns = [{"from": ("human", "gpt")[n % 2], "value": text} for n, text in enumerate(texts)]
    return {"id": image, "image": image, "conversations": turns}


@pytest.fixture
def convert(
    tmp_path: Path, save_image: Callable[..., Path], save_json: Callable[[str, Any], Path]
) -> Callable[..., tuple[list[Sample], ConversionReport]]:
    """Convert the given records; images are made but for those called gone.png."""

    def run(*records: dict[str, Any], **options: Any) -> tuple[list[Sample], ConversionReport]:
        save_json("GeoChat_Instruct.json", list(records))
        for image in {record["image"] for record in records} - {"gone.png"}:
            save_image(f"final_images_llava/{image}", (200, 100) if image == "wide.png" else (100, 100))
        report = ConversionReport("geochat_instruct")
        return list(GEOCHAT.read("train", Settings(tmp_path, **options), report)), report

    return run


def test_boxes_are_upright_unless_asked_to_be_turned(convert: Callable[..., Any]) -> None:
    asked = record("a.png", "[refer] where is <p>the ship</p> ?", "{<20><40><60><50>|<450>}")
    upright, _ = convert(asked)
    assert upright[0].slots == {"expression": "the ship"}
    assert upright[0].answers == ("[20, 40, 60, 50]",)
    turned, _ = convert(asked, layout="turned")  # 450 degrees are 90: width and height change places
    assert turned[0].answers == ("[35, 25, 45, 65]",)
    wide = record("wide.png", "[identify] what is {<20><40><60><50>|<90>}", "<p>1 ship</p>")
    described, _ = convert(wide)
    assert described[0].slots == {"box": "[20, 40, 60, 50]"}
    assert described[0].target["box_px"] == [40.0, 40.0, 120.0, 50.0]
    _, report = convert(wide, layout="turned")
    assert list(report.bad.values()) == ["a turned box needs a square image, not 200 x 100"]
    with pytest.raises(ValueError, match="--layout other is unknown"):
        convert(asked, layout="other")


def test_a_grounded_description_asks_for_each_phrase_that_is_certain(convert: Callable[..., Any]) -> None:
    answer = (
        "<p>Two ships</p> {<1><1><5><5>|<9>}<delim>{<6><1><9><5>|<9>} and <p>a car</p> "
        "{<20><20><30><30>|<9>} and <p>A car</p>{<40><20><50><30>|<9>} and <p>a bus</p> {<9><9><9><12>|<9>}"
    )
    samples, report = convert(
        record("a.png", "[grounding] describe", answer),
        record("a.png", "[grounding] describe", "Nothing but sea."),
        record("a.png", "[grounding] describe", "A pier {<1><1><5><5>|<9>}."),
    )
    assert [(sample.slots, sample.answers) for sample in samples] == [
        ({"expression": "Two ships"}, ("[1, 1, 5, 5], [6, 1, 9, 5]",))
    ]
    assert report.left_out == {
        "phrases of a grounded description that stand there twice": 2,
        "boxes without area inside the frame": 1,
        "grounded descriptions without boxes": 1,
    }
    assert list(report.bad) == ["GeoChat_Instruct.json record 2 question 0"]


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("[refer] where is <p>it</p> ?", "at the left", "is not made of boxes"),
        ("[refer] where is <p>it</p> ?", "It is at {<1><1><5><5>|<9>}", "is not made of boxes"),
        ("[refer] where is <p>{<1><1><5><5>|<9>}</p> ?", "{<1><1><5><5>|<9>}", "holds a box"),
        ("[refer] where is <p>it</p> ?", "{<77><981><83><100>|<29>}", "is reversed"),
        ("[identify] what is this?", "a ship", "must hold one box, not 0"),
        ("[identify] what is {<1><1><5>|<9>}?", "a ship", "cannot be read"),
        ("[detect] ships", "{<1><1><5><5>|<9>}", "token 'detect' is unknown"),
        ("Classify the given image in one of the following classes. Classes: a, b.", "c", "none of the"),
    ],
)
def test_what_is_not_as_its_token_says_is_bad(
    convert: Callable[..., Any], question: str, answer: str, reason: str
) -> None:
    samples, report = convert(record("a.png", question, answer))
    assert samples == []
    (found,) = report.bad.values()
    assert reason in found


def test_a_dialogue_over_two_experts_becomes_two(convert: Callable[..., Any]) -> None:
    refer = "[refer] where is <p>it</p> ?"
    samples, _ = convert(
        record("a.png", "Is it red?", "Yes", refer, "{<1><1><5><5>|<9>}", "How many?", "Two", "Why?", "So.")
    )
    assert [(sample.task, sample.conversation) for sample in samples] == [
        (Task.VQA, "0-vqa"),
        (Task.VG, ""),
        (Task.VQA, "0-vqa"),
        (Task.VQA, "0-vqa"),
    ]


def test_parts_that_benchmarks_test_on_stay_out(tmp_path: Path, convert: Callable[..., Any]) -> None:
    bench = tmp_path / "GeoChat-Bench"
    bench.mkdir()
    (bench / "region_captioning.jsonl").write_text(json.dumps({"image_id": "P2610_0003"}) + "\n")
    records = [
        record("lrben/17.png", "How many roads are there?", "3"),
        record("18.png", "Is it a rural or an urban area \nAnswer shortly.", "urban", "Is it big?", "No"),
        record("images/sea_ice_007.jpg", "Is this ice?", "Yes"),
        record("P2610_0003.png", "Is a plane here?", "Yes"),
        record("04133.png", "Is a car here?", "Yes"),
    ]
    samples, report = convert(*records)
    assert [sample.images for sample in samples] == [("final_images_llava/04133.png",)]
    assert report.left_out == {
        "RSVQA-LR part, whose questions come from rsvqa_lr (--include-overlap takes it)": 3,
        "NWPU-RESISC45 part, which holds test images (--include-overlap takes it)": 1,
        "image of GeoChat-Bench (--include-overlap takes it)": 1,
    }
    assert not report.warnings
    everything, _ = convert(*records, include_overlap=True)
    assert len(everything) == 6


def test_an_image_may_have_another_suffix_but_must_be_there(
    tmp_path: Path, convert: Callable[..., Any]
) -> None:
    (tmp_path / "final_images_llava").mkdir()
    asked = [record("gone.png", "Is it?", "No", "Sure?", "Yes"), record("gone.png", "Why?", "So.")]
    samples, report = convert(*asked)
    assert samples == []
    assert report.bad == {"gone.png": "image gone.png is missing"}
    assert report.bad_samples == 3
    assert "GeoChat-Bench" in report.warnings[0]
    convert(record("gone.tif", "Is it?", "No"))
    samples, report = convert(*asked)
    assert {sample.images for sample in samples} == {("final_images_llava/gone.tif",)}
    _, report = convert(record("../../gone.png", "Is it?", "No"))
    assert "must not use '..'" in report.bad["../../gone.png"]
