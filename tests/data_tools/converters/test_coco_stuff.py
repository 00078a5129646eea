"""COCO-Stuff: the published numbers of its classes, and how many are asked for."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from fixtures import patches, save_picture, save_values
from fixtures.coco_stuff import make_coco_stuff

from data_tools.converter import Sample, Settings
from data_tools.converters import coco_stuff
from data_tools.report import ConversionReport
from rsunivlm.codecs import MaskCodec

(COCO_STUFF,) = coco_stuff.CONVERTERS


def read(root: Path, seed: int = 0) -> tuple[list[Sample], ConversionReport]:
    report = ConversionReport("coco_stuff")
    return list(COCO_STUFF.read("train", Settings(root, masks=MaskCodec(4), seed=seed), report)), report


def test_numbers_are_those_of_the_label_list_less_one() -> None:
    asked = coco_stuff._MEANING.asked
    assert len(asked) == 182
    assert all(re.fullmatch("[a-z ]+", name) for name in asked.values())
    assert {value: asked[value] for value in (0, 12, 90, 91, 95, 102, 156, 181)} == {
        0: "person",
        12: "stop sign",
        90: "hair brush",
        91: "banner",
        95: "building other",
        102: "ceiling tile",
        156: "sky other",
        181: "wood",
    }
    assert coco_stuff._MEANING.ignored == (255,)


def test_seven_pictures_of_ten_get_a_second_question(tmp_path: Path) -> None:
    values = patches((8, 8), 1, (0, 0, 4, 4, 2), (4, 4, 8, 8, 3))
    for number in range(200):
        save_picture(tmp_path / f"train2017/{number:012}.jpg", (8, 8))
        save_values(tmp_path / f"stuffthingmaps/train2017/{number:012}.png", values)
    samples, _ = read(tmp_path)
    questions = Counter(Counter(sample.images for sample in samples).values())
    assert set(questions) == {1, 2}
    assert abs(questions[2] - 140) < 20  # three standard deviations of 0.7 of 200
    classes = Counter(sample.slots["label"] for sample in samples)
    assert all(abs(count - len(samples) / 3) < 30 for count in classes.values())
    assert [sample.id for sample in read(tmp_path)[0]] == [sample.id for sample in samples]
    assert [sample.id for sample in read(tmp_path, seed=1)[0]] != [sample.id for sample in samples]


@pytest.mark.parametrize("layout", ["stuffthingmaps_trainval2017", "stuffthingmaps", "annotations"])
def test_the_usual_layouts_are_found(tmp_path: Path, layout: str) -> None:
    make_coco_stuff(tmp_path)
    (tmp_path / "stuffthingmaps_trainval2017").rename(tmp_path / layout)
    if layout == "annotations":
        (tmp_path / "images").mkdir()
        for split in ("train2017", "val2017"):
            (tmp_path / split).rename(tmp_path / "images" / split)
    assert COCO_STUFF.find_splits(tmp_path) == ("train", "val")
    samples, report = read(tmp_path)
    assert len(samples) == 5
    assert list(report.bad.values()) == ["mask values [200] have no class name"]
    assert report.bad_samples == 2  # what a picture gives at most, not one for each of 182 classes
    assert all(sample.answers[0] != "others*4\nothers*4\nothers*4\nothers*4" for sample in samples)


def test_pictures_without_label_images_are_no_split(tmp_path: Path) -> None:
    (tmp_path / "train2017").mkdir()
    assert COCO_STUFF.find_splits(tmp_path) == ()
