"""LEVIR-MCI: pairs, change captions and masks with two kinds of change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_tools.converter import Sample, Settings
from data_tools.converters.levir_mci import CONVERTERS, find_splits
from data_tools.report import ConversionReport
from rsunivlm.codecs import MaskCodec
from rsunivlm.tasks import Task

SIDE = 32


def mask(*patches: tuple[int, int, int, int, int]) -> np.ndarray:
    """A three-channel label as the download has it; patches are (x1, y1, x2, y2, value)."""
    values = np.zeros((SIDE, SIDE, 3), np.uint8)
    for x1, y1, x2, y2, value in patches:
        values[y1:y2, x1:x2] = value
    return values


def pair(number: int, changed: int, *raws: str) -> dict[str, Any]:
    return {
        "filepath": "train",
        "filename": f"train_{number:06}.png",
        "split": "train",
        "changeflag": changed,
        "sentences": [{"raw": raw} for raw in raws],
    }


@pytest.fixture
def root(tmp_path: Path, save_image: Callable[..., Path], save_json: Callable[[str, Any], Path]) -> Path:
    labels = [mask((0, 0, 16, 16, 255), (24, 0, 32, 32, 128)), mask(), mask((8, 8, 16, 16, 255))]
    for number, values in enumerate(labels, start=1):
        for side in "AB":
            save_image(f"images/train/{side}/train_{number:06}.png", (SIDE, SIDE))
        save_image(f"images/train/label/train_{number:06}.png", values=values)
    pairs = [pair(1, 1, " a road appears .", " houses ."), pair(2, 0, " no change has occurred .")]
    save_json("LevirCCcaptions.json", {"images": pairs})
    save_json("no_captions.json", [{"filepath": "train", "filename": "train_000003.png", "split": "train"}])
    return tmp_path


def convert(root: Path, split: str = "train", grid: int = 4) -> tuple[list[Sample], ConversionReport]:
    report = ConversionReport("levir_mci")
    return list(CONVERTERS[0].read(split, Settings(root, masks=MaskCodec(grid)), report)), report


def test_captions_keep_their_style_and_the_change_flag(root: Path) -> None:
    assert find_splits(root) == ("train",)
    changed, unchanged = (sample for sample in convert(root)[0] if sample.task is Task.CC)
    assert changed.images == ("images/train/A/train_000001.png", "images/train/B/train_000001.png")
    assert changed.target == {"references": ["a road appears .", "houses ."], "changed": True}
    assert (unchanged.answers, unchanged.target["changed"]) == (("no change has occurred .",), False)


def test_each_pair_asks_for_buildings_and_for_roads_where_there_are_any(root: Path) -> None:
    masks = [sample for sample in convert(root)[0] if sample.task is Task.CD]
    assert [(s.id, s.slots["label"], s.target["value"]) for s in masks] == [
        ("train-train_000001-building", "building", 255),
        ("train-train_000001-road", "road", 128),
        ("train-train_000002-building", "building", 255),
        ("train-train_000003-building", "building", 255),
    ]
    assert masks[0].answers[0] == "building*2, others*2\n" * 2 + "others*4\nothers*4"
    assert masks[1].answers[0] == "\n".join(["others*3, road*1"] * 4)
    assert masks[2].answers[0] == "\n".join(["others*4"] * 4)
    assert masks[0].target["mask"] == "images/train/label/train_000001.png"


def test_the_text_decodes_to_the_mask(root: Path) -> None:
    building = next(sample for sample in convert(root)[0] if sample.task is Task.CD)
    decoded, report = MaskCodec(4).decode(building.answers[0], building.target["labels"], (SIDE, SIDE))
    assert report.valid
    np.testing.assert_array_equal(decoded, mask((0, 0, 16, 16, 1))[..., 0])


def test_unknown_values_wrong_sizes_and_missing_files_are_counted(
    root: Path, save_image: Callable[..., Path]
) -> None:
    save_image("images/train/label/train_000001.png", values=mask((0, 0, 9, 9, 7)))
    save_image("images/train/label/train_000002.png", values=mask()[:9])
    (root / "images/train/B/train_000003.png").unlink()
    samples, report = convert(root)
    assert {sample.task for sample in samples} == {Task.CC}  # captions do not need the mask
    assert list(report.bad.values()) == [
        "mask values [7] have no class name",
        "mask is 32 x 9, its image 32 x 32",
        "image train_000003.png is missing",
    ]


def test_a_lossless_label_is_found_beside_jpeg_images(root: Path, save_image: Callable[..., Path]) -> None:
    for side in "AB":
        save_image(f"images/train/{side}/train_000002.jpg", (SIDE, SIDE))
    path = root / "LevirCCcaptions.json"
    path.write_text(path.read_text().replace("train_000002.png", "train_000002.jpg"))
    samples, report = convert(root)
    assert not report.bad
    assert any(sample.target.get("mask") == "images/train/label/train_000002.png" for sample in samples)


@pytest.mark.parametrize(
    ("split", "captioned", "changed", "pairs"), [("train", 434, 288, 512), ("test", 109, 66, 128)]
)
def test_the_real_files_convert_in_full(
    rs_sample: Callable[[str], Path], split: str, captioned: int, changed: int, pairs: int
) -> None:
    samples, report = convert(rs_sample("levir_mci"), split, grid=16)
    change_captions = [sample for sample in samples if sample.task is Task.CC]
    assert (len(change_captions), len(samples) - len(change_captions)) == (captioned, pairs)
    assert sum(sample.target["changed"] for sample in change_captions) == changed
    assert not report.bad
