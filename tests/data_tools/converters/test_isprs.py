"""Potsdam and Vaihingen: which tiles, which files, and the two layouts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fixtures import patches, save_picture, save_values
from fixtures.isprs import (
    BOUNDARY,
    BUILDING,
    IMPERVIOUS,
    LOW,
    SIZE,
    TREE,
    make_potsdam,
    make_vaihingen,
    make_vaihingen_tiles,
)

from data_tools.converter import Converter, Sample, Settings
from data_tools.converters.isprs import POTSDAM, VAIHINGEN
from data_tools.report import ConversionReport
from rsunivlm.codecs import MaskCodec


def read(
    converter: Converter, root: Path, split: str, **options: Any
) -> tuple[list[Sample], ConversionReport]:
    report = ConversionReport("isprs")
    settings = Settings(root, **{"out": root / "out", "masks": MaskCodec(4), "crop": 32, **options})
    return list(converter.read(split, settings, report)), report


def crops(samples: list[Sample]) -> list[str]:
    return list(dict.fromkeys(Path(sample.images[0]).stem for sample in samples))


@pytest.mark.parametrize(
    ("converter", "made", "train", "test"),
    [(POTSDAM, make_potsdam, 24, 14), (VAIHINGEN, make_vaihingen_tiles, 16, 17)],
)
def test_every_tile_of_the_contest_is_in_one_split(
    tmp_path: Path, converter: Converter, made: Any, train: int, test: int
) -> None:
    made(tmp_path)
    assert converter.find_splits(tmp_path) == ("train", "test")
    seen: set[str] = set()
    for split, number in (("train", train), ("test", test)):
        report = ConversionReport("isprs")
        there = {item.name for item in converter.items(split, Settings(tmp_path), report)}
        (warning,) = report.warnings
        absent = set(warning.partition(": ")[2].split(", "))
        assert warning.startswith(f"{len(absent)} of {number} {split} tiles are not there")
        assert len(there | absent) == number
        assert not seen & (there | absent)
        seen |= there | absent


def test_vaihingen_takes_the_eroded_labels_and_tells_images_from_labels_of_the_same_name(
    tmp_path: Path,
) -> None:
    make_vaihingen_tiles(tmp_path)
    (item,) = VAIHINGEN.items("train", Settings(tmp_path), ConversionReport("isprs"))
    assert item.images == ("top/top_mosaic_09cm_area1.tif",)
    assert item.mask == "gts_eroded_for_participants/top_mosaic_09cm_area1_noBoundary.tif"
    (tmp_path / item.mask).unlink()
    (item,) = VAIHINGEN.items("train", Settings(tmp_path), ConversionReport("isprs"))
    assert item.mask == "gts_for_participants/top_mosaic_09cm_area1.tif"


def test_potsdam_takes_rgb_and_whole_labels_where_there_is_a_choice(tmp_path: Path) -> None:
    save_picture(tmp_path / "4_Ortho_RGBIR/top_potsdam_2_10_RGBIR.tif", SIZE)
    save_values(tmp_path / "labels/5/top_potsdam_2_10_label_noBoundary.tif", patches(SIZE, TREE))
    (item,) = POTSDAM.items("train", Settings(tmp_path), ConversionReport("isprs"))
    assert (item.images, item.mask) == (
        ("4_Ortho_RGBIR/top_potsdam_2_10_RGBIR.tif",),
        "labels/5/top_potsdam_2_10_label_noBoundary.tif",
    )
    save_picture(tmp_path / "2_Ortho_RGB/2_Ortho_RGB/top_potsdam_2_10_RGB.tif", SIZE)
    save_values(tmp_path / "labels/6/top_potsdam_2_10_label.tif", patches(SIZE, TREE))
    (item,) = POTSDAM.items("train", Settings(tmp_path), ConversionReport("isprs"))
    assert (item.images, item.mask) == (
        ("2_Ortho_RGB/2_Ortho_RGB/top_potsdam_2_10_RGB.tif",),
        "labels/6/top_potsdam_2_10_label.tif",
    )


def test_a_large_crop_is_a_whole_tile(tmp_path: Path) -> None:
    make_vaihingen_tiles(tmp_path)
    assert crops(read(VAIHINGEN, tmp_path, "test")[0]) == ["area2_0_0_32_32", "area2_16_0_48_32"]
    assert crops(read(VAIHINGEN, tmp_path, "test", crop=4000)[0]) == ["area2_0_0_48_32"]


def test_both_layouts_give_the_same_samples(tmp_path: Path) -> None:
    """The values and names of MMSegmentation's preparation, written down by hand."""
    labels = patches(
        SIZE, IMPERVIOUS, (0, 0, 16, 16, BUILDING), (32, 0, 48, 32, LOW), (16, 16, 24, 32, BOUNDARY)
    )
    save_picture(tmp_path / "tiles/top/top_mosaic_09cm_area1.tif", SIZE)
    save_values(tmp_path / "tiles/gt/top_mosaic_09cm_area1_noBoundary.tif", labels)
    values = patches(SIZE, 1, (0, 0, 16, 16, 2), (32, 0, 48, 32, 3), (16, 16, 24, 32, 0))
    for name, left in (("area1_0_0_32_32", 0), ("area1_16_0_48_32", 16)):
        save_picture(tmp_path / f"cut/img_dir/train/{name}.png")
        save_values(tmp_path / f"cut/ann_dir/train/{name}.png", values[:, left : left + 32])
    ours, _ = read(VAIHINGEN, tmp_path / "tiles", "train")
    theirs, report = read(VAIHINGEN, tmp_path / "cut", "train", crop=0)
    assert not report.bad
    for one, other in zip(ours, theirs, strict=True):
        assert (one.id, one.answers, one.training) == (other.id, other.answers, other.training)
        assert {**one.target, "mask": ""} == {**other.target, "mask": ""}
    assert ours[0].answers[0].splitlines()[2] == "impervious surface*2, others*1, impervious surface*1"


def test_crops_that_are_there_cannot_be_cut_again(tmp_path: Path) -> None:
    make_vaihingen(tmp_path)
    assert VAIHINGEN.find_splits(tmp_path) == ("train", "test")
    with pytest.raises(ValueError, match="are cut already; leave out --crop"):
        read(VAIHINGEN, tmp_path, "train")


def test_an_image_without_labels_is_no_split(tmp_path: Path) -> None:
    save_picture(tmp_path / "top/top_mosaic_09cm_area1.tif", SIZE)
    assert VAIHINGEN.find_splits(tmp_path) == ()
