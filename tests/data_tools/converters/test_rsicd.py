"""RSICD: captions, and a class from whichever place has one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_tools.converter import Sample, Settings
from data_tools.converters.rsicd import CONVERTERS, find_splits
from data_tools.report import ConversionReport
from rsunivlm.tasks import Task


def image(filename: str, split: str, *raws: str) -> dict[str, Any]:
    return {"filename": filename, "split": split, "sentences": [{"raw": raw} for raw in raws]}


@pytest.fixture
def root(tmp_path: Path, save_image: Callable[..., Path], save_json: Callable[[str, Any], Path]) -> Path:
    entries = [
        image("bareland_3.jpg", "train", " a bare land .", "brown ground ."),
        image("00007.jpg", "train", "two fields ."),
        image("airport_1.jpg", "test", "planes ."),
    ]
    for entry in entries:
        save_image(f"RSICD_images/{entry['filename']}")
    save_json("dataset_rsicd.json", {"images": entries})
    return tmp_path


def convert(root: Path, split: str, **options: Any) -> tuple[list[Sample], ConversionReport]:
    report = ConversionReport("rsicd")
    return list(CONVERTERS[0].read(split, Settings(root, **options), report)), report


def by_task(samples: list[Sample], task: Task) -> list[Sample]:
    return [sample for sample in samples if sample.task is task]


def test_all_captions_are_kept_in_their_own_style(root: Path) -> None:
    assert find_splits(root) == ("test", "train")
    first, second = by_task(convert(root, "train")[0], Task.CAP)
    assert first.images == ("RSICD_images/bareland_3.jpg",)
    assert first.answers == ("a bare land .", "brown ground .")
    assert first.target == {"references": ["a bare land .", "brown ground ."]}
    assert second.answers == ("two fields .",)


CLASSES = (
    "airport, bare land, baseball field, beach, bridge, center, church, commercial, dense residential, "
    "desert, farmland, forest, industrial, meadow, medium residential, mountain, park, parking, playfields, "
    "playground, pond, port, railway station, resort, river, school, sparse residential, square, stadium, "
    "storage tanks, viaduct"
)


def test_a_class_comes_from_the_prefix_and_numeric_names_have_none(root: Path) -> None:
    samples, report = convert(root, "train")
    (train,) = by_task(samples, Task.SC)
    assert train.slots == {"classes": CLASSES}
    assert train.target == {"label": "bare land", "classes": CLASSES.split(", ")}
    assert report.left_out["SC: no class known (see classes_rsicd.json or txtclasses_rsicd)"] == 1


def test_aid_images_stay_out_of_training_unless_asked_for(
    root: Path, save_json: Callable[[str, Any], Path]
) -> None:
    save_json(
        "classes_rsicd.json",
        {"bareland_3.jpg": "BareLand", "00007.jpg": "Play_Fields", "airport_1.jpg": "Airport"},
    )
    samples, report = convert(root, "train")
    assert [(s.answers[0], s.training) for s in by_task(samples, Task.SC)] == [
        ("bare land", False),
        ("playfields", True),
    ]
    assert report.left_out.total() == 1
    samples, report = convert(root, "train", include_overlap=True)
    assert all(sample.training for sample in samples)
    assert not report.left_out


def test_class_lists_name_the_numeric_files(root: Path) -> None:
    (root / "txtclasses_rsicd").mkdir()
    (root / "txtclasses_rsicd/playfields.txt").write_text("00007.jpg\n")
    assert [s.answers[0] for s in by_task(convert(root, "train")[0], Task.SC)] == ["bare land", "playfields"]
    (root / "txtclasses_rsicd/playfields.txt").rename(root / "txtclasses_rsicd/volcano.txt")
    samples, report = convert(root, "train")
    assert [s.answers[0] for s in by_task(samples, Task.SC)] == ["bare land"]
    assert report.bad == {"class of 00007.jpg": "'volcano' is no class of RSICD"}


def test_empty_captions_and_bad_names_are_counted(root: Path, save_json: Callable[[str, Any], Path]) -> None:
    entries = [image("00007.jpg", "train", ".", "1 .", "good ."), image("../x.jpg", "train", "a .")]
    save_json("dataset_rsicd.json", {"images": [*entries, image("gone.jpg", "train", "a .")]})
    samples, report = convert(root, "train")
    assert [sample.answers for sample in samples] == [("good .",)]
    assert list(report.bad) == [
        "00007.jpg sentence 0",
        "00007.jpg sentence 1",
        "RSICD_images/../x.jpg",
        "RSICD_images/gone.jpg",
    ]


def test_an_entry_without_a_split_stops(root: Path, save_json: Callable[[str, Any], Path]) -> None:
    save_json("dataset_rsicd.json", {"images": [{"filename": "a.jpg"}]})
    with pytest.raises(ValueError, match="image 0 has no 'filename' or 'split'"):
        find_splits(root)


def test_the_real_files_convert_in_full(rs_sample: Callable[[str], Path]) -> None:
    samples, report = convert(rs_sample("rsicd"), "test")
    assert len(by_task(samples, Task.CAP)) == len(by_task(samples, Task.SC)) == 693
    assert len(by_task(samples, Task.SC)[0].target["classes"]) == 31
    assert not report.bad
