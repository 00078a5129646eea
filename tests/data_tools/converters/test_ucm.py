"""UC Merced in its two layouts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_tools.converter import Sample, Settings
from data_tools.converters.ucm import CONVERTERS, find_splits
from data_tools.report import ConversionReport
from rsunivlm.tasks import Task

CLASSES = (
    "agricultural, airplane, baseball diamond, beach, buildings, chaparral, dense residential, forest, "
    "freeway, golf course, harbor, intersection, medium residential, mobile home park, overpass, parking "
    "lot, river, runway, sparse residential, storage tanks, tennis court"
)


@pytest.fixture
def folders(tmp_path: Path, save_image: Callable[..., Path]) -> Path:
    for name in ("golfcourse/golfcourse00", "tenniscourt/tenniscourt99"):
        save_image(f"UCMerced_LandUse/Images/{name}.tif")
    return tmp_path


@pytest.fixture
def captions(tmp_path: Path, save_image: Callable[..., Path], save_json: Callable[[str, Any], Path]) -> Path:
    names = ("1", "100", "101", "2000", "2001", "2100", "0", "2101", "x")
    for name in names:
        save_image(f"imgs/{name}.tif")
    entries = [
        {"filename": f"{name}.tif", "split": "val", "sentences": [{"raw": "text ."}]} for name in names
    ]
    save_json("dataset.json", {"images": entries})
    return tmp_path


def read(root: Path, split: str) -> tuple[list[Sample], ConversionReport]:
    report = ConversionReport("ucm")
    return list(CONVERTERS[0].read(split, Settings(root), report)), report


def test_class_folders_give_classes_for_training(folders: Path) -> None:
    assert find_splits(folders) == ("train",)
    samples, report = read(folders, "train")
    assert [(s.id, s.task, s.answers[0]) for s in samples] == [
        ("train-golfcourse00", Task.SC, "golf course"),
        ("train-tenniscourt99", Task.SC, "tennis court"),
    ]
    assert samples[0].images == ("UCMerced_LandUse/Images/golfcourse/golfcourse00.tif",)
    assert samples[0].slots == {"classes": CLASSES}
    assert not report.bad


def test_the_number_tells_the_class_of_a_captioned_image(captions: Path) -> None:
    samples, report = read(captions, "val")
    assert [(s.id, s.answers[0]) for s in samples if s.task is Task.SC] == [
        ("val-1-sc", "agricultural"),
        ("val-100-sc", "agricultural"),
        ("val-101-sc", "airplane"),
        ("val-2000-sc", "storage tanks"),
        ("val-2001-sc", "tennis court"),
        ("val-2100-sc", "tennis court"),
    ]
    assert sum(s.task is Task.CAP for s in samples) == 9
    assert list(report.bad) == ["class of 0.tif", "class of 2101.tif", "class of x.tif"]


def test_the_captions_are_read_where_both_layouts_are_there(folders: Path, captions: Path) -> None:
    assert folders == captions
    assert find_splits(folders) == ("val",)


def test_neither_layout_stops(tmp_path: Path, save_json: Callable[[str, Any], Path]) -> None:
    with pytest.raises(ValueError, match="no class folders; expected layout"):
        find_splits(tmp_path)
    save_json("dataset.json", {"images": []})
    with pytest.raises(ValueError, match="has no imgs"):
        find_splits(tmp_path)
