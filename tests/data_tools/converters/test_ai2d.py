"""AI2D: letters, the published test list, and answers that are no choice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fixtures.ai2d import make_ai2d, question

from data_tools.converter import Sample, Settings
from data_tools.converters.ai2d import CONVERTERS
from data_tools.report import ConversionReport

(AI2D,) = CONVERTERS


def read(root: Path) -> tuple[list[Sample], ConversionReport]:
    report = ConversionReport("ai2d")
    return list(AI2D.read("train", Settings(root), report)), report


def test_questions_about_letters_need_the_pictures_with_letters(tmp_path: Path) -> None:
    make_ai2d(tmp_path)
    samples, _ = read(tmp_path)
    assert [(s.id, s.images[0]) for s in samples if s.id.startswith("train-0")] == [
        ("train-0.png-0", "images/0.png"),
        ("train-0.png-1", "abc_images/0.png"),
    ]
    shutil.rmtree(tmp_path / "abc_images")
    samples, report = read(tmp_path)
    assert not any("letter" in sample.slots["question"] for sample in samples)
    assert report.left_out["questions about letters that only the pictures of abc_images show"] == 1


def test_without_the_test_list_nothing_is_held_back_but_a_warning_given(tmp_path: Path) -> None:
    make_ai2d(tmp_path)
    assert not any("1.png" in sample.images[0] for sample in read(tmp_path)[0])
    (tmp_path / "ai2d_test_ids.csv").unlink()
    samples, report = read(tmp_path)
    assert any(sample.images == ("images/1.png",) for sample in samples)
    assert "ai2d_test_ids.csv is missing" in report.warnings[0]


@pytest.mark.parametrize(
    "bad",
    [
        question("q", ["a", "b"], 2),
        question("q", ["a", "b"], -1),
        question("q", ["a", "a", "b"], 0),
        question("q", ["a", " "], 0),
        question("q", [], 0),
        question("q", ["a", "b"], True),
        question("", ["a", "b"], 0),
        {},
        None,
    ],
)
def test_a_question_without_a_single_answer_is_named_and_skipped(bad: Any, tmp_path: Path) -> None:
    make_ai2d(tmp_path)
    content = {"imageName": "2.png", "questions": {"Why?": bad, "What?": question("2-0", ["a", "a", "b"], 2)}}
    (tmp_path / "questions/2.png.json").write_text(json.dumps(content))
    samples, report = read(tmp_path)
    assert [sample.answers for sample in samples if sample.images == ("images/2.png",)] == [("b",)]
    assert list(report.bad) == ["questions/2.png.json 'Why?'"]
