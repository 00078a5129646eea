"""The caption files of Karpathy's schema."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_tools.captions import captions, read_entries
from data_tools.report import ConversionReport

GOOD = {"filename": "a.jpg", "split": "train"}


def test_entries_stand_under_images_or_alone(save_json: Callable[[str, Any], Path]) -> None:
    assert read_entries(save_json("a.json", {"images": [GOOD], "dataset": "x"})) == [GOOD]
    assert read_entries(save_json("b.json", [GOOD])) == [GOOD]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"pictures": []}, "has no list 'images'"),
        ([GOOD, {"filename": "b.jpg"}], "image 1 has no 'filename' or 'split'"),
        ([GOOD, "b.jpg"], "image 1 has no 'filename' or 'split'"),
        ([GOOD | {"filename": 7}], "image 0 has no 'filename' or 'split'"),
        ([GOOD | {"sentences": "a road ."}], "image 0 has 'sentences' that are no list"),
    ],
)
def test_a_malformed_file_stops(save_json: Callable[[str, Any], Path], content: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_entries(save_json("captions.json", content))


def test_sentences_keep_their_style_and_empty_ones_are_reported() -> None:
    raws = [" a road appears .", "Two Planes", ".", "1 .", None, " "]
    entry = GOOD | {"sentences": [{"raw": raw} for raw in raws] + ["no object"]}
    report = ConversionReport("x")
    assert captions(entry, report) == ("a road appears .", "Two Planes")
    assert list(report.bad) == [f"a.jpg sentence {number}" for number in range(2, 7)]
    assert captions(GOOD, report) == ()
