"""VOC and DOTA folders: what an annotation says, and what a crop still shows of it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from fixtures import save_picture, save_text
from fixtures.voc_dota_boxes import dota_line, make_dota_boxes, make_voc_boxes, voc_xml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from data_tools.converter import Sample, Settings
from data_tools.converters.voc_dota_boxes import CONVERTERS
from data_tools.report import ConversionReport
from rsunivlm.tasks import Task

VOC, DOTA = CONVERTERS


def convert_voc(root: Path, split: str = "train") -> tuple[list[Sample], ConversionReport]:
    report = ConversionReport("voc_boxes")
    return list(VOC.read(split, Settings(root), report)), report


def convert_dota(root: Path, out: Path, crop: int = 64) -> tuple[list[Sample], ConversionReport]:
    report = ConversionReport("dota_boxes")
    return list(DOTA.read("train", Settings(root, out=out, crop=crop), report)), report


def expressions(samples: list[Sample]) -> set[str]:
    return {sample.slots["expression"] for sample in samples if sample.task is Task.VG}


def test_voc_splits_come_from_image_sets_or_are_one(tmp_path: Path) -> None:
    make_voc_boxes(tmp_path)
    assert VOC.find_splits(tmp_path) == ("train", "val")
    (tmp_path / "JPEGImages").rename(tmp_path / "images")
    (tmp_path / "ImageSets").rename(tmp_path / "unused")
    assert VOC.find_splits(tmp_path) == ("train",)
    samples, _ = convert_voc(tmp_path)
    assert {sample.images[0] for sample in samples} == {f"images/00000{n}.jpg" for n in (1, 2, 4)}
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"has no train\.txt"):
        VOC.find_splits(tmp_path)
    (tmp_path / "images").rename(tmp_path / "pictures")
    with pytest.raises(ValueError, match="neither JPEGImages nor images"):
        VOC.find_splits(tmp_path)


@pytest.mark.parametrize(
    ("content", "item", "reason"),
    [
        ("<annotation><object>", "Annotations/000001.xml (train)", "not valid XML"),
        ("<annotation/>", "Annotations/000001.xml (train)", "no <object>"),
        (voc_xml("x", (9, 9), [("", (1, 1, 9, 9), 0)]), "Annotations/000001.xml (train)", "has no letters"),
        (voc_xml("x", (9, 9), [("car", (1, 1, 900, 9), 0)]), "Annotations/000001.xml object 0", "beyond"),
        (
            "<annotation><object><name>car</name></object></annotation>",
            "Annotations/000001.xml object 0",
            "numbers",
        ),
        (None, "Annotations/000001.xml (train)", "is missing"),
    ],
)
def test_a_bad_voc_annotation_is_named(content: str | None, item: str, reason: str, tmp_path: Path) -> None:
    save_picture(tmp_path / "JPEGImages/000001.jpg", (40, 40))
    save_text(tmp_path / "ImageSets/Main/train.txt", "000001\n")
    (tmp_path / "Annotations").mkdir()
    if content is not None:
        save_text(tmp_path / "Annotations/000001.xml", content)
    samples, report = convert_voc(tmp_path)
    assert not samples
    assert reason in report.bad[item]


def test_a_listed_path_cannot_leave_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    make_voc_boxes(root)
    save_text(tmp_path / "secret.xml", "<annotation/>")
    save_text(root / "ImageSets/Main/train.txt", "../../secret\n")
    _, report = convert_voc(root)
    assert "no picture named ../../secret" in next(iter(report.bad.values()))


def test_a_difficult_object_is_a_rival_but_never_asked_for(tmp_path: Path) -> None:
    save_picture(tmp_path / "JPEGImages/1.jpg", (100, 100))
    objects = [("car", (10, 10, 30, 30), 0), ("car", (60, 60, 95, 95), 1)]
    save_text(tmp_path / "Annotations/1.xml", voc_xml("1.jpg", (100, 100), objects))
    samples, report = convert_voc(tmp_path)
    assert samples
    assert all(sample.target.get("box_px", [10])[0] == 10 for sample in samples)
    assert not any(re.fullmatch("the (only )?car( in the image)?", text) for text in expressions(samples))
    assert report.left_out == {"objects marked as difficult: never asked for": 1}


def write_dota(root: Path, size: tuple[int, int], *lines: str) -> None:
    """The root itself as the only split."""
    save_picture(root / "images/P1.png", size)
    save_text(root / "labelTxt/P1.txt", "imagesource:GoogleEarth\ngsd:null\n\n" + "".join(lines))


def test_the_hull_of_a_turned_rectangle_counts(tmp_path: Path) -> None:
    """A diamond around (32, 24); the class name in DOTA's spelling; no difficulty given."""
    write_dota(tmp_path, (64, 64), "32 14 42 24 32 34 22 24 large-vehicle\n")
    assert DOTA.find_splits(tmp_path) == ("train",)
    samples, report = convert_dota(tmp_path, tmp_path / "out")
    assert not report.bad
    assert samples[0].target == {"boxes_px": [[22, 14, 42, 34]], "image_size": [64, 64]}
    assert samples[0].slots["expression"].endswith(("large vehicle", "large vehicle in the image"))


@pytest.mark.parametrize(
    ("line", "item", "reason"),
    [
        ("1 2 3 4 ship 0\n", "labelTxt/P1.txt (train)", "line 5 is not made of 8 numbers"),
        ("1 2 3 4 5 6 7 8 -- 0\n", "labelTxt/P1.txt (train)", "has no letters"),
        ("1 2 3 x 5 6 7 8 ship 0\n", "labelTxt/P1.txt line 5", "could not convert"),
        ("1 2 3 nan 5 6 7 8 ship 0\n", "labelTxt/P1.txt line 5", "have no area"),
        ("1 2 1 4 1 6 1 8 ship 0\n", "labelTxt/P1.txt line 5", "have no area"),
        (dota_line("ship", 70, 0, 90, 20), "labelTxt/P1.txt line 5", "lies outside the 64 x 64 image"),
    ],
)
def test_a_bad_dota_line_is_named_and_nothing_said_about_its_class(
    line: str, item: str, reason: str, tmp_path: Path
) -> None:
    write_dota(tmp_path, (64, 64), dota_line("ship", 5, 5, 20, 20), line)
    samples, report = convert_dota(tmp_path, tmp_path / "out")
    assert not samples
    assert reason in report.bad[item]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", ["missing", "text", "cut"])
def test_a_raster_that_cannot_be_read_is_named(damage: str, tmp_path: Path) -> None:
    write_dota(tmp_path, (96, 64), dota_line("ship", 5, 5, 20, 20))
    path = tmp_path / "images/P1.png"
    data = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(b"text" if damage == "text" else data[: len(data) // 2])
    samples, report = convert_dota(tmp_path, tmp_path / "out")
    assert not samples
    assert list(report.bad) == ["labelTxt/P1.txt (train)"]


boxes = st.tuples(st.integers(-4, 90), st.integers(-4, 60), st.integers(4, 40), st.integers(4, 40))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["ship", "plane", "harbor"]), boxes), min_size=1, max_size=6))
def test_a_crop_asks_only_for_what_it_shows_whole(
    tmp_path: Path, objects: list[tuple[str, tuple[int, int, int, int]]]
) -> None:
    size = (100, 70)
    write_dota(tmp_path, size, *(dota_line(name, x, y, x + w, y + h) for name, (x, y, w, h) in objects))
    out = tmp_path / "out"
    samples, _ = convert_dota(tmp_path, out, crop=48)
    with Image.open(tmp_path / "images/P1.png") as picture:
        pixels = np.asarray(picture)
    for sample in samples:
        left, top, right, bottom = map(int, re.findall(r"_(\d+)", sample.images[0]))
        with Image.open(out / sample.images[0]) as crop:
            np.testing.assert_array_equal(np.asarray(crop), pixels[top:bottom, left:right])
        assert sample.target["image_size"] == [right - left, bottom - top]
        if sample.task is not Task.VG:
            continue
        ((x1, y1, x2, y2),) = sample.target["boxes_px"]
        text = sample.slots["expression"]
        noun = min((name for name in ("ship", "plane", "harbor") if name in text), key=text.index)
        matches = []
        for name, (x, y, w, h) in objects:
            inner = (max(x, left), max(y, top), min(x + w, right), min(y + h, bottom))
            share = max(0, inner[2] - inner[0]) * max(0, inner[3] - inner[1]) / (w * h)
            if name in text:
                assert share == 0 or share >= 0.95  # nothing is said about a class that the border cuts
            matches.append((name, inner) == (noun, (x1 + left, y1 + top, x2 + left, y2 + top)))
        assert any(matches)


def test_crops_that_are_there_are_not_cut_again(tmp_path: Path) -> None:
    make_dota_boxes(tmp_path)
    out = tmp_path / "out"
    samples, _ = convert_dota(tmp_path, out)
    crop = out / samples[0].images[0]
    (tmp_path / "train/images/P0001.png").write_bytes(
        (tmp_path / "train/images/P0001.png").read_bytes()[:200]  # the header only
    )
    before = crop.stat().st_mtime_ns
    assert convert_dota(tmp_path, out)[0] == samples
    assert crop.stat().st_mtime_ns == before


def test_dota_needs_a_folder_for_its_crops(tmp_path: Path) -> None:
    make_dota_boxes(tmp_path)
    with pytest.raises(ValueError, match="name a folder"):
        Settings(tmp_path).image_root(DOTA.manifest)
    with pytest.raises(ValueError, match="has no images"):
        DOTA.find_splits(tmp_path / "train" / "images")
