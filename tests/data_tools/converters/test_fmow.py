"""fMoW: boxes with context, cut out of large images."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data_tools.converter import Sample, Settings
from data_tools.converters.fmow import CLASSES, CONVERTERS, _grow, find_splits
from data_tools.report import ConversionReport

SIZE = (200, 100)
PLACE = "train/zoo/zoo_0/zoo_0_1_rgb"


@pytest.fixture
def ramp() -> np.ndarray:
    """An image whose red is its column and whose green is its row."""
    values = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    values[..., 0], values[..., 1] = np.arange(SIZE[0]), np.arange(SIZE[1])[:, None]
    return values


@pytest.fixture
def place(tmp_path: Path, save_image: Callable[..., Path], ramp: np.ndarray) -> Callable[..., Path]:
    """Write one image and its annotation; returns the root."""

    def write(boxes: Any, **fields: Any) -> Path:
        root = tmp_path / "root"
        save_image(f"root/{PLACE}.jpg", values=ramp)
        content = {"bounding_boxes": boxes, "img_width": SIZE[0], "img_height": SIZE[1]} | fields
        (root / f"{PLACE}.json").write_text(json.dumps(content))
        return root

    return write


def box(*numbers: float, category: str = "zoo") -> dict[str, Any]:
    return {"ID": 3, "category": category, "box": list(numbers)}


def read(root: Path, **options: int) -> tuple[list[Sample], ConversionReport]:
    report = ConversionReport("fmow")
    settings = Settings(root, out=root.parent / "out", **options)
    return list(CONVERTERS[0].read("train", settings, report)), report


def test_a_crop_is_the_box_with_the_context_of_the_baseline(place: Callable[..., Path]) -> None:
    """40 of 200 px (0.2 of the width) grow by 0.5, 40 of 100 px (0.4) by 0.2: 10 and 4 px at either end."""
    root = place([box(20, 30, 40, 40), box(0, 0, 200, 100, category="single-unit_residential")])
    samples, report = read(root)
    assert [(s.id, s.answers[0]) for s in samples] == [
        ("train-zoo_0_1_rgb-0", "zoo"),
        ("train-zoo_0_1_rgb-1", "single unit residential"),
    ]
    assert samples[0].images == (f"images/512/{PLACE}_0.jpg",)
    with Image.open(root.parent / "out" / samples[0].images[0]) as crop:
        assert crop.size == (60, 48)
        values = np.asarray(crop).astype(int)
    assert abs(values[24, 30, :2] - [10 + 30, 26 + 24]).max() <= 6  # JPEG keeps the ramps roughly
    with Image.open(root.parent / "out" / samples[1].images[0]) as whole:
        assert whole.size == SIZE
    assert not report.bad


def test_the_longer_side_is_reduced_and_finished_crops_are_kept(place: Callable[..., Path]) -> None:
    root = place(box(0, 0, 200, 100))  # one box without a list around it
    ((sample,), _) = read(root, crop=50)
    crop = root.parent / "out" / sample.images[0]
    with Image.open(crop) as picture:
        assert picture.size == (50, 25)
    made = crop.stat().st_mtime_ns
    (root / f"{PLACE}.jpg").write_bytes((root / f"{PLACE}.jpg").read_bytes()[:700])  # no longer decodes
    assert len(read(root, crop=50)[0]) == 1
    assert crop.stat().st_mtime_ns == made
    crop.unlink()
    samples, report = read(root, crop=50)
    assert not samples
    assert "zoo_0_1_rgb.jpg is damaged" in report.bad[f"{PLACE}.json"]


@given(st.integers(1, 5000), st.data())
def test_context_stays_inside_the_image_and_shrinks_with_the_box(limit: int, data: st.DataObject) -> None:
    length = data.draw(st.integers(1, limit))
    start = data.draw(st.integers(0, limit - length))
    left, right = _grow(start, length, limit)
    assert 0 <= left <= start
    assert start + length <= right <= limit
    assert right - left <= (1.15 if 2 * length >= limit else 3) * length


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (box(150, 0, 60, 20), "reaches beyond the 200 x 100 image"),
        (box(-1, 0, 60, 20), "reaches beyond"),
        (box(50, 50, -20, 20), "reversed or empty"),
        (box(0, 0, 20), "not made of four numbers"),
        (box(0, 0, 20, float("nan")), "not made of four numbers"),
        (box(0, 0, 20, 20, category="volcano"), "category 'volcano' is none of the 62"),
        ({"box": [0, 0, 20, 20]}, "category None"),
        ("zoo", "no object"),
    ],
)
def test_a_bad_box_is_skipped_alone(place: Callable[..., Path], bad: Any, reason: str) -> None:
    samples, report = read(place([box(0, 0, 20, 20), bad]))
    assert [sample.id for sample in samples] == ["train-zoo_0_1_rgb-0"]
    ((item, found),) = report.bad.items()
    assert item == f"{PLACE}.json box 1"
    assert reason in found


def test_a_speck_is_left_out(place: Callable[..., Path]) -> None:
    samples, report = read(place([box(0, 0, 2, 50), box(0, 0, 3, 3)]))
    assert [sample.id for sample in samples] == ["train-zoo_0_1_rgb-1"]
    assert report.left_out == {"box of 2 px or less": 1}


def test_an_annotation_that_does_not_fit_its_image_is_skipped_whole(place: Callable[..., Path]) -> None:
    boxes = [box(0, 0, 20, 20), box(9, 9, 20, 20)]
    for change, reason in (
        ({"img_width": 400}, "states size 400 x 100, its image is 200 x 100"),
        ({"bounding_boxes": []}, "has no 'bounding_boxes'"),
    ):
        samples, report = read(place(boxes, **change))
        assert not samples
        assert report.bad == {f"{PLACE}.json": reason}
    root = place(boxes)
    (root / f"{PLACE}.jpg").unlink()
    _, report = read(root)
    assert (report.bad, report.bad_samples) == ({f"{PLACE}.json": "image zoo_0_1_rgb.jpg is missing"}, 2)
    (root / f"{PLACE}.json").write_text('{"bounding_boxes": [')
    assert "not valid JSON" in read(root)[1].bad[f"{PLACE}.json"]


def test_the_multispectral_twin_is_not_read(place: Callable[..., Path]) -> None:
    root = place([box(0, 0, 20, 20)])
    for suffix in (".jpg", ".json"):
        twin = root / f"{PLACE.removesuffix('_rgb')}_msrgb{suffix}"
        twin.write_bytes((root / f"{PLACE}{suffix}").read_bytes())
    assert len(read(root)[0]) == 1
    assert find_splits(root) == ("train",)
    with pytest.raises(ValueError, match="neither train nor val"):
        find_splits(root / "train")


def test_the_classes_are_the_62_categories_in_words() -> None:
    assert ", ".join(CLASSES) == (
        "airport, airport hangar, airport terminal, amusement park, aquaculture, archaeological site, barn, "
        "border checkpoint, burial site, car dealership, construction site, crop field, dam, debris or "
        "rubble, educational institution, electric substation, factory or powerplant, fire station, flooded "
        "road, fountain, gas station, golf course, ground transportation station, helipad, hospital, "
        "impoverished settlement, interchange, lake or pond, lighthouse, military facility, multi unit "
        "residential, nuclear powerplant, office building, oil or gas facility, park, parking lot or "
        "garage, place of worship, police station, port, prison, race track, railway bridge, recreational "
        "facility, road bridge, runway, shipyard, shopping mall, single unit residential, smokestack, solar "
        "farm, space facility, stadium, storage tank, surface mine, swimming pool, toll booth, tower, "
        "tunnel opening, waste disposal, water treatment facility, wind farm, zoo"
    )
    assert len(CLASSES) == 62
