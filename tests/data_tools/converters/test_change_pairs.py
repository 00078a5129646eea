"""Before/after pairs: lists, folders or neither."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fixtures.change_pairs import make_change_pairs

from data_tools.converter import Sample, Settings
from data_tools.converters.change_pairs import CONVERTERS
from data_tools.report import ConversionReport
from rsunivlm.codecs import MaskCodec

(CHANGE_PAIRS,) = CONVERTERS


def read(root: Path, split: str = "train", **options: Any) -> tuple[list[Sample], ConversionReport]:
    report = ConversionReport("change_pairs")
    settings = Settings(root, **{"masks": MaskCodec(4), **options})
    return list(CHANGE_PAIRS.read(split, settings, report)), report


def test_lists_may_lie_in_a_folder_of_their_own(tmp_path: Path) -> None:
    make_change_pairs(tmp_path)
    before = read(tmp_path)
    (tmp_path / "list").mkdir()
    for name in ("train.txt", "test.txt"):
        (tmp_path / name).rename(tmp_path / "list" / name)
    assert CHANGE_PAIRS.find_splits(tmp_path) == ("test", "train")
    assert read(tmp_path) == before
    assert read(tmp_path, "test")[0][0].images == ("A/d.jpg", "B/d.jpg")


def test_without_lists_all_pairs_are_training_data(tmp_path: Path) -> None:
    make_change_pairs(tmp_path)
    for name in ("train.txt", "test.txt"):
        (tmp_path / name).unlink()
    assert CHANGE_PAIRS.find_splits(tmp_path) == ("train",)
    samples, report = read(tmp_path)
    assert [sample.images[0] for sample in samples[::2]] == ["A/a.jpg", "A/b.jpg", "A/d.jpg"]
    assert list(report.bad) == ["A/c.jpg"]


def test_folders_may_be_splits(tmp_path: Path) -> None:
    make_change_pairs(tmp_path)
    (tmp_path / "val").mkdir()
    for side in ("A", "B", "label"):
        (tmp_path / side).rename(tmp_path / "val" / side)
    assert CHANGE_PAIRS.find_splits(tmp_path) == ("val",)
    samples, _ = read(tmp_path, "val")
    assert samples[0].images == ("val/A/a.jpg", "val/B/a.jpg")
    assert samples[0].target["mask"] == "val/label/a.png"


def test_every_kind_of_change_is_asked_for(tmp_path: Path) -> None:
    make_change_pairs(tmp_path)
    samples, _ = read(tmp_path)
    assert [(sample.id, sample.training) for sample in samples] == [
        ("train-a-new-road", True),
        ("train-a-building", True),
        ("train-b-new-road", True),
        ("train-b-building", True),
    ]


def test_folders_of_other_names_are_no_splits(tmp_path: Path) -> None:
    (tmp_path / "old/A").mkdir(parents=True)
    assert CHANGE_PAIRS.find_splits(tmp_path) == ()


def test_the_real_pairs_convert_in_full(rs_sample: Callable[[str], Path]) -> None:
    building = {0: "background", 255: "building"}
    root = rs_sample("levir_mci") / "images"
    assert CHANGE_PAIRS.find_splits(root) == ("test", "train")
    samples, report = read(root, "test", classes=building, masks=MaskCodec())
    assert (len(samples), report.bad) == (128, {})
