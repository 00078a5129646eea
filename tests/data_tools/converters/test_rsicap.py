"""RSICap and RSIEval: two folders, two splits; bad entries are counted and named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_tools.converter import Sample, Settings
from data_tools.converters.rsicap import CONVERTERS, find_splits
from data_tools.report import ConversionReport
from rsunivlm.tasks import Task


@pytest.fixture
def rsieval(tmp_path: Path, save_image: Callable[..., Path], save_json: Callable[[str, Any], Path]) -> Path:
    save_image("RSIEval/images/P0001_0000.png")
    pair = {"question": "A lake?", "answer": "No.", "type": "presence"}
    entries = [
        {"filename": "P0001_0000.png", "caption": "A road. Two cars.", "qa_pairs": [pair, {"question": "?"}]},
        {"filename": "P0001_0000.png", "caption": " ", "qa_pairs": [pair]},
        {"filename": "../P0001_0000.png", "caption": "A road.", "qa_pairs": [pair, pair]},
        {"filename": "P0009_0000.png", "caption": "A road."},
        "P0001_0000.png",
    ]
    save_json("RSIEval/annotations.json", {"annotations": entries})
    return tmp_path


def read(root: Path, split: str) -> tuple[list[Sample], ConversionReport]:
    report = ConversionReport("rsicap")
    return list(CONVERTERS[0].read(split, Settings(root), report)), report


def test_rsieval_alone_is_a_test_split_and_bad_entries_are_named(rsieval: Path) -> None:
    assert find_splits(rsieval) == ("test",)
    samples, report = read(rsieval, "test")
    assert [(s.id, s.task, s.answers) for s in samples] == [
        ("test-0", Task.CAP, ("A road. Two cars.",)),
        ("test-0-0", Task.VQA, ("No.",)),
        ("test-1-0", Task.VQA, ("No.",)),
    ]
    assert samples[0].target == {"references": ["A road. Two cars."]}
    assert samples[1].target == {"answer": "No.", "type": "presence"}
    reasons = {
        "entry 0 question 1": "has no usable 'answer'",
        "entry 1": "has no usable 'caption'",
        "entry 2": "must not use '..'",
        "entry 3": "image P0009_0000.png is missing",
        "entry 4": "has no usable 'filename'",
    }
    assert [item.removeprefix("annotations.json ") for item in report.bad] == list(reasons)
    assert all(why in said for why, said in zip(reasons.values(), report.bad.values(), strict=True))
    assert report.bad_samples == 1 + 1 + 3 + 1 + 1


def test_a_wrong_folder_or_file_is_named(tmp_path: Path, save_json: Callable[[str, Any], Path]) -> None:
    with pytest.raises(ValueError, match="holds neither RSICap nor RSIEval"):
        find_splits(tmp_path)
    (tmp_path / "RSICap").mkdir()
    save_json("RSICap/captions.json", [])
    assert find_splits(tmp_path) == ("train",)
    with pytest.raises(ValueError, match=r"captions\.json has no list 'annotations'"):
        read(tmp_path, "train")
