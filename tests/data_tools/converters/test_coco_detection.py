"""COCO detection: where files lie, what silences a class, and the real sample."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures import save_json, save_picture
from fixtures.coco_detection import CATEGORIES, annotation, make_coco_detection

from data_tools.converter import Sample, Settings
from data_tools.converters.coco_detection import CONVERTERS
from data_tools.report import ConversionReport
from rsunivlm.codecs import BoxCodec
from rsunivlm.tasks import Task

(COCO,) = CONVERTERS
SHIP, HARBOR = 1, 2


def convert(root: Path, split: str = "train") -> tuple[list[Sample], ConversionReport]:
    report = ConversionReport("coco_detection")
    return list(COCO.read(split, Settings(root), report)), report


def write(root: Path, annotations: list[dict[str, Any]], file_name: str = "a.png", **image: Any) -> None:
    """One picture of 100 x 50 with id 1."""
    save_picture(root / "a.png", (100, 50))
    images = [{"id": 1, "file_name": file_name, **image}]
    save_json(root / "train.json", {"images": images, "annotations": annotations, "categories": CATEGORIES})


def expressions(samples: list[Sample]) -> set[str]:
    return {sample.slots["expression"] for sample in samples if sample.task is Task.VG}


@pytest.mark.parametrize(
    ("picture", "annotations", "file_name"),
    [
        ("a.png", "train.json", "a.png"),
        ("images/a.png", "instances_train.json", "a.png"),
        ("images/a.png", "annotations/instances_train.json", "images/a.png"),
        ("train/a.png", "annotations/annotations_train.json", "a.png"),
        ("images/train/a.png", "annotations/instances_train.json", "a.png"),
        ("train/a.png", "train/_annotations.coco.json", "a.png"),
        ("other/deep/a.png", "mine/annotations_train.json", "../other/deep/a.png"),
    ],
)
def test_usual_layouts_are_found(picture: str, annotations: str, file_name: str, tmp_path: Path) -> None:
    write(tmp_path, [annotation(5, 1, SHIP, [10, 10, 20, 20])], file_name, width=100, height=50)
    for old, new in (("a.png", picture), ("train.json", annotations)):
        (tmp_path / new).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / old).rename(tmp_path / new)
    assert COCO.find_splits(tmp_path) == ("train",)
    samples, report = convert(tmp_path)
    assert not report.bad
    assert {sample.images for sample in samples} == {(picture,)}
    assert samples[0].answers == ("[10, 20, 30, 60]",)


@pytest.mark.parametrize(
    ("file_name", "image", "reason"),
    [
        ("../outside.png", {}, "not found without leaving"),
        ("/etc/hostname", {}, "not found without leaving"),
        ("link/outside.png", {}, "leads outside the image root"),
        ("gone.png", {}, "not found"),
        ("a.png", {"width": 50, "height": 100}, "is 100 x 50 but stated as (50, 100)"),
        ("text.png", {}, "unreadable"),
    ],
)
def test_a_picture_that_cannot_be_used_is_named_and_skipped(
    file_name: str, image: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    write(root, [annotation(i, 1, SHIP, [10 * i, 10, 5, 5]) for i in range(3)], file_name, **image)
    save_picture(tmp_path / "outside.png", (100, 50))
    (root / "link").symlink_to(tmp_path)
    (root / "text.png").write_text("no picture")
    samples, report = convert(root)
    assert not samples
    assert reason in next(iter(report.bad.values()))
    assert report.bad_samples == 3


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ([90, 10, 20, 20], "reaches beyond the 100 x 50 image"),
        ([-5, 10, 20, 20], "reaches beyond the 100 x 50 image"),
        ([10, 10, -5, 20], "reversed or empty"),
        ([10, 10, 0, 20], "reversed or empty"),
        ([10, 10, 20], "reversed or empty"),
        (None, "reversed or empty"),
        (["1", 2, 3, 4], "reversed or empty"),
    ],
)
def test_a_bad_box_is_named_and_silences_its_class(box: Any, reason: str, tmp_path: Path) -> None:
    good = [annotation(1, 1, SHIP, [5, 5, 20, 20]), annotation(2, 1, HARBOR, [50, 5, 20, 40])]
    write(tmp_path, good)
    assert any("ship" in text for text in expressions(convert(tmp_path)[0]))
    write(tmp_path, [*good, annotation(3, 1, SHIP, box)])
    samples, report = convert(tmp_path)
    assert reason in report.bad["train image a.png annotation 3"]
    assert expressions(samples)
    assert not any("ship" in text for text in expressions(samples))


def test_a_crowd_silences_its_class_and_half_a_pixel_is_rounding(tmp_path: Path) -> None:
    write(
        tmp_path,
        [
            annotation(1, 1, SHIP, [5, 5, 20, 20]),
            annotation(2, 1, SHIP, [60, 5, 30, 20], iscrowd=1),
            annotation(3, 1, HARBOR, [60.2, 9.5, 40.0, 40.7]),
        ],
    )
    samples, report = convert(tmp_path)
    assert not report.bad
    assert {sample.target.get("box_px", sample.target.get("boxes_px", [[]])[0])[2] for sample in samples} == {
        100
    }
    assert not any("ship" in text for text in expressions(samples))


@pytest.mark.parametrize(
    "entry",
    [
        annotation(9, 1, 99, [0, 0, 5, 5]),
        annotation(9, None, SHIP, [0, 0, 5, 5]),
        annotation(9, "1", SHIP, [0, 0, 5, 5]),
        "text",
        None,
    ],
)
def test_an_annotation_of_nothing_known_is_named(entry: Any, tmp_path: Path) -> None:
    write(tmp_path, [annotation(1, 1, SHIP, [5, 5, 20, 20]), entry])
    samples, report = convert(tmp_path)
    assert samples
    assert list(report.bad) == ["train.json annotation 1"]


def test_annotations_of_an_unlisted_image_and_doubled_images_are_named(tmp_path: Path) -> None:
    write(tmp_path, [annotation(1, 1, SHIP, [5, 5, 20, 20]), annotation(2, 7, SHIP, [5, 5, 20, 20])])
    content = json.loads((tmp_path / "train.json").read_text())
    content["images"] += [{"id": 1, "file_name": "a.png"}, {"file_name": "a.png"}]
    (tmp_path / "train.json").write_text(json.dumps(content))
    samples, report = convert(tmp_path)
    assert {sample.images for sample in samples} == {("a.png",)}
    assert list(report.bad) == ["train.json image 1", "train.json image 2", "train.json image 7"]


def test_what_is_no_coco_file_stops(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no COCO annotations; expected layout"):
        COCO.find_splits(tmp_path)
    make_coco_detection(tmp_path)
    assert COCO.find_splits(tmp_path) == ("train", "val")
    path = tmp_path / "annotations/instances_train.json"
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    with pytest.raises(ValueError, match=r"instances_train\.json is not valid JSON"):
        convert(tmp_path)
    path.write_text(json.dumps({"images": []}))
    with pytest.raises(ValueError, match="has no 'categories'"):
        convert(tmp_path)
    (tmp_path / "train.json").write_text(text)
    with pytest.raises(ValueError, match="two annotation files for train"):
        COCO.find_splits(tmp_path)


def test_the_real_sample_converts_in_full_from_the_folder_that_holds_both(
    rs_sample: Callable[[str], Path], tmp_path: Path
) -> None:
    for part in ("vhr10", "vhr10_rsvg"):  # elsewhere in that folder may lie other people's files
        (tmp_path / part).mkdir()
        for entry in rs_sample(part).iterdir():
            target = tmp_path / part / entry.name
            if entry.is_dir():
                target.mkdir()
                for file in entry.iterdir():
                    (target / file.name).hardlink_to(file)
            else:
                target.hardlink_to(entry)
    counts = {}
    for split in COCO.find_splits(tmp_path):
        samples, report = convert(tmp_path, split)
        assert not report.bad
        tasks = Counter(sample.task for sample in samples)
        counts[split] = tasks[Task.REG] + report.left_out.total()
        for sample in samples:
            if sample.task is Task.VG and sample.training:
                size = tuple(sample.target["image_size"])
                decoded, _ = BoxCodec().decode(sample.answers[0], size)
                half_step = np.tile(size, 2) / 200
                assert (np.abs(decoded - sample.target["boxes_px"]) <= half_step + 1e-9).all()
        assert tasks[Task.VG] > tasks[Task.REG] > 100
    assert counts == {"train": 2545, "val": 382, "test": 451}  # every object is asked for or counted
