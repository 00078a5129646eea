"""WHU-CD: tiles with lists, and the authors' mosaics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.whu_cd import make_mosaics, make_whu_cd
from PIL import Image

from data_tools.converter import Sample, Settings
from data_tools.converters.whu_cd import CONVERTERS
from data_tools.report import ConversionReport
from rsunivlm.codecs import MaskCodec
from rsunivlm.tasks import Task

(WHU_CD,) = CONVERTERS
NOTHING = "\n".join(["others*4"] * 4)


def read(root: Path, split: str, **options: Any) -> tuple[list[Sample], ConversionReport]:
    report = ConversionReport("whu_cd")
    settings = Settings(root, out=root / "out", masks=MaskCodec(4), **options)
    return list(WHU_CD.read(split, settings, report)), report


def test_every_pair_is_asked_for_changed_buildings(tmp_path: Path) -> None:
    make_whu_cd(tmp_path)
    assert WHU_CD.find_splits(tmp_path) == ("train", "val", "test")
    samples, _ = read(tmp_path, "train", layout="whucd256")
    assert {(sample.task, sample.slots["label"]) for sample in samples} == {(Task.CD, "building")}
    assert [(sample.answers[0] == NOTHING, sample.training) for sample in samples] == [
        (False, True),
        (True, True),  # no change is an answer too
        (True, False),  # a change below a grid cell: the text would deny it
    ]
    assert samples[0].images == ("A/whucd_00001.png", "B/whucd_00001.png")


def test_mosaics_are_cut_into_full_tiles(tmp_path: Path) -> None:
    make_mosaics(tmp_path)
    assert WHU_CD.find_splits(tmp_path) == ("train", "test")
    samples, report = read(tmp_path, "test", crop=32)
    assert not report.bad
    assert [sample.id for sample in samples] == [
        "test-whucd_0_0_32_32-building",
        "test-whucd_32_0_64_32-building",
    ]
    assert samples[0].answers == (NOTHING,)
    assert samples[1].answers == ("building*2, others*2\nbuilding*2, others*2\nothers*4\nothers*4",)
    assert samples[1].images == (
        "images/A/test/whucd_32_0_64_32.png",
        "images/B/test/whucd_32_0_64_32.png",
    )
    with Image.open(tmp_path / "out" / samples[1].target["mask"]) as mask:
        assert samples[1].target["value"] == 255
        assert np.unique(np.asarray(mask)).tolist() == [0, 255]
    base = tmp_path / "1. The two-period image data"
    with (
        Image.open(base / "2016/whole_image/test/image/2016_test.tif") as whole,
        Image.open(tmp_path / "out" / samples[1].images[1]) as tile,
    ):
        np.testing.assert_array_equal(np.asarray(tile), np.asarray(whole)[:32, 32:64])


def test_a_lost_mosaic_counts_as_all_its_tiles(tmp_path: Path) -> None:
    make_mosaics(tmp_path)
    (tmp_path / "1. The two-period image data/2016/whole_image/test/image/2016_test.tif").unlink()
    samples, report = read(tmp_path, "test")
    assert (samples, report.bad_samples) == ([], 2596)
    assert list(report.bad.values()) == ["image 2016_test.tif is missing"]


@pytest.mark.parametrize(
    ("made", "options", "words"),
    [
        (make_whu_cd, {"layout": "official"}, "has the layout whucd256, not 'official'"),
        (make_mosaics, {"layout": "whucd256"}, "has the layout official, not 'whucd256'"),
        (make_mosaics, {"layout": "raw"}, r"not 'raw' \(one of whucd256, official\)"),
        (make_whu_cd, {"crop": 64}, "are cut already; leave out --crop"),
    ],
)
def test_options_must_fit_the_layout(tmp_path: Path, made: Any, options: Any, words: str) -> None:
    made(tmp_path)
    with pytest.raises(ValueError, match=words):
        read(tmp_path, "test", **options)
