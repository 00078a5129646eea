"""Folders of images with index masks. What is asked about them: see test_segmentation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fixtures import save_text
from fixtures.index_masks import make_index_masks

from data_tools.converter import Sample, Settings
from data_tools.converters.index_masks import CONVERTERS
from data_tools.report import ConversionReport
from rsunivlm.codecs import MaskCodec

(INDEX_MASKS,) = CONVERTERS


def convert(root: Path, split: str = "train", **options: Any) -> tuple[list[Sample], ConversionReport]:
    report = ConversionReport("index_masks")
    settings = Settings(root, **{"masks": MaskCodec(4), **options})
    return list(INDEX_MASKS.read(split, settings, report)), report


def test_lists_are_splits_and_stems_may_hold_dots(tmp_path: Path) -> None:
    make_index_masks(tmp_path)
    assert INDEX_MASKS.find_splits(tmp_path) == ("train", "val")  # and not readme.txt
    samples, report = convert(tmp_path, "val")
    assert {(sample.images, sample.target["mask"]) for sample in samples} == {
        (("images/b.2.tif",), "masks/b.2.png")
    }
    assert not report.bad


def test_the_text_decodes_to_the_mask(tmp_path: Path) -> None:
    make_index_masks(tmp_path)
    building = convert(tmp_path)[0][0]
    decoded, _ = MaskCodec(4).decode(building.answers[0], building.target["labels"], (32, 32))
    assert (decoded[:, :16] == 1).all()
    assert (decoded[:, 16:] == 0).all()


def test_classes_can_be_named_for_a_folder_without_a_class_file(tmp_path: Path) -> None:
    make_index_masks(tmp_path)
    (tmp_path / "classes.json").unlink()
    with pytest.raises(ValueError, match=r"classes\.json does not exist.*--classes"):
        convert(tmp_path)
    classes = {0: "background", 1: "road", 3: "background", 4: "other"}
    (road,) = convert(tmp_path, classes=classes)[0]
    assert (road.slots, road.target) == (
        {"label": "road"},
        {"mask": "masks/a.png", "labels": ["others", "road"], "value": 1},
    )


def test_what_a_list_names_and_is_not_there_is_bad(tmp_path: Path) -> None:
    make_index_masks(tmp_path)
    (tmp_path / "masks/a.png").unlink()
    save_text(tmp_path / "train.txt", "a\nc\n../a\na\n")
    samples, report = convert(tmp_path)
    assert not samples
    assert report.bad == {
        "images/a.jpg": "its mask is missing",
        "masks/c.png": "its image is missing",
        "train ../a": "its image is missing",
    }
    assert report.bad_samples == 3 * 3


def test_the_real_folders_convert_in_full(rs_sample: Callable[[str], Path]) -> None:
    samples, report = convert(rs_sample("dubai"), "test")
    assert (len(samples), report.bad) == (9 * 5, {})
    assert samples[0].target["ignore"] == [0]
    road = {0: "background", 255: "road"}
    samples, report = convert(rs_sample("epfl_road"), "test", classes=road, masks=MaskCodec())
    assert (len(samples), report.bad) == (19, {})
    assert all("road" in sample.answers[0] for sample in samples)
