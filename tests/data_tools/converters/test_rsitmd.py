"""RSITMD: captions, a class from the file name, and AID's classes kept out of training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_tools.converter import Sample, Settings
from data_tools.converters.rsitmd import CLASSES, CONVERTERS, find_splits
from data_tools.report import ConversionReport
from rsunivlm.tasks import Task

FILES = ("plane_455.tif", "baseballfield_456.tif", "boat_457.tif", "volcano_458.tif")


@pytest.fixture
def root(tmp_path: Path, save_image: Callable[..., Path], save_json: Callable[[str, Any], Path]) -> Path:
    for name in FILES:
        save_image(f"images/{name}")
    entries = [{"filename": name, "split": "train", "sentences": [{"raw": "Text."}]} for name in FILES]
    save_json("dataset_RSITMD.json", {"images": entries})
    return tmp_path


def read(root: Path, **options: bool) -> tuple[list[Sample], ConversionReport]:
    report = ConversionReport("rsitmd")
    return list(CONVERTERS[0].read("train", Settings(root, **options), report)), report


def test_the_prefix_is_one_of_33_classes(root: Path) -> None:
    assert find_splits(root) == ("train",)
    samples, report = read(root)
    classes = [sample for sample in samples if sample.task is Task.SC]
    assert [sample.answers[0] for sample in classes] == ["plane", "baseball field", "boat"]
    assert classes[0].target["classes"] == list(CLASSES)
    assert classes[0].slots["classes"] == (
        "airport, bare land, baseball field, beach, boat, bridge, center, church, commercial, dense "
        "residential, desert, farmland, forest, industrial, intersection, meadow, medium residential, "
        "mountain, park, parking, plane, playground, pond, port, railway station, resort, river, school, "
        "sparse residential, square, stadium, storage tanks, viaduct"
    )
    assert sum(sample.task is Task.CAP for sample in samples) == 4
    assert report.bad == {"class of volcano_458.tif": "the name begins with no class of RSITMD"}


def test_classes_of_aid_are_not_trained_unless_asked_for(root: Path) -> None:
    samples, report = read(root)
    assert [s.answers[0] for s in samples if s.task is Task.SC and s.training] == ["plane", "boat"]
    assert report.left_out.total() == 1
    samples, report = read(root, include_overlap=True)
    assert all(sample.training for sample in samples)
    assert not report.left_out
