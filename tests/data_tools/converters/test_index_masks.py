"""Folders of images with index masks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_tools.converter import Sample, Settings
from data_tools.converters.index_masks import CONVERTERS, find_splits
from data_tools.report import ConversionReport
from rsunivlm.codecs import MaskCodec

SIDE = 32
CLASSES = {"0": "unlabeled", "1": "building", "2": "Low_Vegetation", "3": "water", "4": "others"}


@pytest.fixture
def root(tmp_path: Path, save_image: Callable[..., Path], save_json: Callable[[str, Any], Path]) -> Path:
    """Left half building, a 2 px speck of water, right quarter unlabelled, the rest others."""
    values = np.full((SIDE, SIDE), 4, np.uint8)
    values[:, :16] = 1
    values[0:2, 16:18] = 3
    values[:, 24:] = 0
    save_image("images/a.jpg", (SIDE, SIDE))
    save_image("masks/a.png", values=values)
    save_json("classes.json", CLASSES)
    (tmp_path / "train.txt").write_text("a\n\n")
    (tmp_path / "readme.txt").write_text("hello\n")
    return tmp_path


def convert(root: Path, split: str = "train", **options: Any) -> tuple[list[Sample], ConversionReport]:
    report = ConversionReport("index_masks")
    settings = Settings(root, **{"masks": MaskCodec(4), **options})
    return list(CONVERTERS[0].read(split, settings, report)), report


def test_every_class_is_asked_and_the_visible_ones_are_trained(root: Path) -> None:
    assert find_splits(root) == ("train",)
    samples, report = convert(root)
    assert [(s.slots["label"], s.training) for s in samples] == [
        ("building", True),
        ("low vegetation", False),  # not there
        ("water", False),  # there, but smaller than a cell: the text would say that it is not
    ]
    building = samples[0]
    assert building.answers[0] == "\n".join(["building*2, others*2"] * 4)
    assert building.target == {
        "mask": "masks/a.png",
        "labels": ["others", "building"],
        "value": 1,
        "ignore": [0],
    }
    assert not report.bad


def test_the_text_decodes_to_the_mask(root: Path) -> None:
    building = convert(root)[0][0]
    decoded, _ = MaskCodec(4).decode(building.answers[0], building.target["labels"], (SIDE, SIDE))
    assert (decoded[:, :16] == 1).all()
    assert (decoded[:, 16:] == 0).all()


def test_absent_classes_can_be_asked_in_training(root: Path) -> None:
    samples = convert(root, absent_labels=1)[0]
    assert [s.slots["label"] for s in samples if s.training] == ["building", "low vegetation"]
    assert samples[1].answers[0] == "\n".join(["others*4"] * 4)


def test_classes_can_be_named_for_a_folder_without_a_class_file(root: Path) -> None:
    (root / "classes.json").unlink()
    with pytest.raises(ValueError, match=r"classes\.json does not exist.*--classes"):
        convert(root)
    (road,) = convert(root, classes={0: "background", 1: "road", 3: "background", 4: "other"})[0]
    assert (road.slots, road.target) == (
        {"label": "road"},
        {"mask": "masks/a.png", "labels": ["others", "road"], "value": 1},
    )


@pytest.mark.parametrize("names", [{0: "others"}, {0: "void", 1: "ignore"}, {1: "a", 2: "A"}])
def test_unusable_class_names_stop(root: Path, names: dict[int, str]) -> None:
    with pytest.raises(ValueError, match="must hold distinct names"):
        convert(root, classes=names)


def test_bad_masks_are_counted_by_name(root: Path, save_image: Callable[..., Path]) -> None:
    for stem in ("small", "strange", "lonely"):
        save_image(f"images/{stem}.jpg", (SIDE, SIDE))
    save_image("masks/small.png", values=np.ones((SIDE, SIDE // 2), np.uint8))
    save_image("masks/strange.png", values=np.full((SIDE, SIDE), 9, np.uint8))
    (root / "train.txt").write_text("a\nsmall\nstrange\nlonely\n../a\n")
    samples, report = convert(root)
    assert {sample.images for sample in samples} == {("images/a.jpg",)}
    assert report.bad == {
        "train.txt small": "mask is 16 x 32, its image 32 x 32",
        "train.txt strange": "mask values [9] have no class name",
        "train.txt lonely": "image or mask is missing",
        "train.txt ../a": "image or mask is missing",
    }
    assert report.bad_samples == 4 * 3


def test_the_real_folders_convert_in_full(rs_sample: Callable[[str], Path]) -> None:
    samples, report = convert(rs_sample("dubai"), "test")
    assert (len(samples), report.bad) == (9 * 5, {})
    assert samples[0].target["ignore"] == [0]
    road = {0: "background", 255: "road"}
    samples, report = convert(rs_sample("epfl_road"), "test", classes=road, masks=MaskCodec())
    assert (len(samples), report.bad) == (19, {})
    assert all("road" in sample.answers[0] for sample in samples)
