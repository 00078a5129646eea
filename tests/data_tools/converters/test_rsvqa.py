"""RSVQA: ids are looked up, stubs are passed over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_tools.converter import Converter, Sample, Settings
from data_tools.converters.rsvqa import HIGH_RESOLUTION, LOW_RESOLUTION
from data_tools.report import ConversionReport


def stub(number: int) -> dict[str, Any]:
    return {"id": number, "active": False}


def question(number: int, text: str, kind: str, answer: int) -> dict[str, Any]:
    return {"id": number, "question": text, "type": kind, "answers_ids": [answer], "active": True}


@pytest.fixture
def root(tmp_path: Path, save_image: Callable[..., Path], save_json: Callable[[str, Any], Path]) -> Path:
    """Image 4 has questions 7 and 5 (answers 9 and 8); image 6 belongs to another split."""
    save_image("Images_LR/4.tif")
    files = {
        "images": [stub(6), {"id": 4, "questions_ids": [7, 5], "active": True}],
        "questions": [
            stub(0),
            question(5, "How many roads?", "count", 8),
            question(7, "Is it a rural or an urban area", "rural_urban", 9),
        ],
        "answers": [
            {"id": 9, "answer": "rural", "active": True},
            stub(3),
            {"id": 8, "answer": "4", "active": True},
        ],
    }
    for kind, entries in files.items():
        save_json(f"LR_split_test_{kind}.json", {kind: entries})
    return tmp_path


def convert(converter: Converter, root: Path, split: str) -> tuple[list[Sample], ConversionReport]:
    report = ConversionReport(converter.manifest.name)
    return list(converter.read(split, Settings(root), report)), report


def test_pairs_are_found_by_id_in_the_order_of_the_image(root: Path) -> None:
    assert LOW_RESOLUTION.find_splits(root) == ("test",)
    samples, report = convert(LOW_RESOLUTION, root, "test")
    assert [(s.id, s.images, s.slots, s.answers) for s in samples] == [
        ("test-7", ("Images_LR/4.tif",), {"question": "Is it a rural or an urban area"}, ("rural",)),
        ("test-5", ("Images_LR/4.tif",), {"question": "How many roads?"}, ("4",)),
    ]
    assert samples[1].target == {"answer": "4", "type": "count"}
    assert not report.bad


def test_broken_references_and_missing_images_are_counted(
    root: Path, save_json: Callable[[str, Any], Path]
) -> None:
    images = [
        {"id": 4, "questions_ids": [7, 5, 0], "active": True},
        {"id": 6, "questions_ids": [1, 2], "active": True},
    ]
    save_json("LR_split_test_images.json", {"images": images})
    save_json("LR_split_test_answers.json", {"answers": [{"id": 9, "answer": " ", "active": True}]})
    samples, report = convert(LOW_RESOLUTION, root, "test")
    assert samples == []
    assert report.bad == {
        "LR_split_test_questions.json question 7": "question or answer is empty",
        "LR_split_test_questions.json question 5": "its answer 8 is not among the active answers",
        "LR_split_test_questions.json question 0": "is not among the active questions",
        "Images_LR/6.tif": "image 6.tif is missing",
    }
    assert report.bad_samples == 5


@pytest.mark.parametrize("kind", ["images", "questions", "answers"])
def test_a_cut_or_empty_file_stops(root: Path, kind: str) -> None:
    path = root / f"LR_split_test_{kind}.json"
    path.write_text(path.read_text()[:-9])
    with pytest.raises(ValueError, match=rf"{path.name} is not valid JSON"):
        convert(LOW_RESOLUTION, root, "test")
    path.write_text('{"other": [1]}')
    with pytest.raises(ValueError, match=rf"{path.name} has no entries under '{kind}'"):
        convert(LOW_RESOLUTION, root, "test")


@pytest.mark.parametrize(
    ("converter", "split", "images", "counts"),
    [
        (LOW_RESOLUTION, "train", 30, {"rural_urban": 30, "count": 862, "presence": 900, "comp": 1211}),
        (LOW_RESOLUTION, "test", 10, {"rural_urban": 10, "count": 305, "presence": 297, "comp": 388}),
        (HIGH_RESOLUTION, "train", 30, {"presence": 776, "count": 775, "area": 443, "comp": 1007}),
        (HIGH_RESOLUTION, "test", 10, {"presence": 275, "count": 288, "area": 143, "comp": 294}),
    ],
)
def test_the_real_files_convert_in_full(
    rs_sample: Callable[[str], Path],
    converter: Converter,
    split: str,
    images: int,
    counts: dict[str, int],
) -> None:
    """Question counts of the sample, counted in its files, not with this converter."""
    root = rs_sample(converter.manifest.name)
    assert converter.find_splits(root) == ("train", "test")
    samples, report = convert(converter, root, split)
    assert Counter(sample.target["type"] for sample in samples) == counts
    assert len({sample.images for sample in samples}) == images
    assert len({sample.id for sample in samples}) == len(samples)
    assert {s.target["answer"] for s in samples if s.target["type"] in ("presence", "comp")} == {"yes", "no"}
    assert not report.bad
