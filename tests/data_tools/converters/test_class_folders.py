"""AID, WHU-RS19, SIRI-WHU and a user's own class folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from data_tools.converter import Converter, Sample, Settings
from data_tools.converters.class_folders import CONVERTERS
from data_tools.report import ConversionReport

BY_NAME = {converter.manifest.name: converter for converter in CONVERTERS}
AID = (
    "airport, bare land, baseball field, beach, bridge, center, church, commercial, dense residential, "
    "desert, farmland, forest, industrial, meadow, medium residential, mountain, park, parking, playground, "
    "pond, port, railway station, resort, river, school, sparse residential, square, stadium, storage "
    "tanks, viaduct"
)
WHU_RS19 = (
    "airport, beach, bridge, commercial, desert, farmland, football field, forest, industrial, meadow, "
    "mountain, park, parking, pond, port, railway station, residential, river, viaduct"
)
SIRI_WHU = (
    "agriculture, commercial, harbor, idle land, industrial, meadow, overpass, park, pond, residential, "
    "river, water"
)


def read(name: str, root: Path, split: str = "test") -> tuple[list[Sample], ConversionReport]:
    report = ConversionReport(name)
    return list(BY_NAME[name].read(split, Settings(root), report)), report


@pytest.mark.parametrize(
    ("name", "folder", "label", "classes", "number"),
    [
        ("aid", "StorageTanks", "storage tanks", AID, 30),
        ("whu_rs19", "WHU-RS19/footballField", "football field", WHU_RS19, 19),
        ("siri_whu", "google/12class_tif/Idle Land", "idle land", SIRI_WHU, 12),
        ("siri_whu", "idleland", "idle land", SIRI_WHU, 12),
    ],
)
def test_a_published_set_asks_for_all_its_classes_whatever_is_there(
    save_image: Callable[..., Path],
    tmp_path: Path,
    name: str,
    folder: str,
    label: str,
    classes: str,
    number: int,
) -> None:
    save_image(f"{folder}/1.jpg")
    assert BY_NAME[name].find_splits(tmp_path) == ("test",)
    ((sample,), report) = read(name, tmp_path)
    assert sample.images == (f"{folder}/1.jpg",)
    assert sample.slots == {"classes": classes}
    assert sample.answers == (label,)
    assert sample.target == {"label": label, "classes": classes.split(", ")}
    assert len(sample.target["classes"]) == number
    (warning,) = report.warnings
    assert warning.count(",") == number - 2  # all other classes are named as missing


def test_ids_tell_equal_file_names_of_two_classes_apart(
    save_image: Callable[..., Path], tmp_path: Path
) -> None:
    for folder in ("pond", "water"):
        save_image(f"12class_tif/{folder}/0001.tif")
    assert [sample.id for sample in read("siri_whu", tmp_path)[0]] == [
        "test-pond/0001.tif",
        "test-water/0001.tif",
    ]


@pytest.fixture
def own() -> Converter:
    return BY_NAME["image_folder"]


def test_own_classes_without_splits_are_for_training(
    own: Converter, save_image: Callable[..., Path], tmp_path: Path
) -> None:
    for name in ("SolarFarm/a.png", "test/b.png"):  # a class may be called "test"
        save_image(name)
    (tmp_path / "empty").mkdir()
    assert own.find_splits(tmp_path) == ("train",)
    samples, report = read("image_folder", tmp_path, "train")
    assert [(s.answers[0], s.slots["classes"], s.training) for s in samples] == [
        ("solar farm", "solar farm, test", True),
        ("test", "solar farm, test", True),
    ]
    assert not report.bad
    assert not report.warnings


def test_own_splits_share_one_list_of_classes(
    own: Converter, save_image: Callable[..., Path], tmp_path: Path
) -> None:
    for name in ("train/a/1.png", "train/b/1.png", "test/c/1.png", "spare/2.png"):
        save_image(name)
    assert own.find_splits(tmp_path) == ("train", "test")
    ((sample,), report) = read("image_folder", tmp_path, "test")
    assert sample.target == {"label": "c", "classes": ["a", "b", "c"]}
    assert report.bad == {"spare": "lies beside the folders of the splits"}
    assert report.warnings == ["no images of a, b in the split test"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["Bare_Land/1.png", "bareland/1.png"], "'Bare_Land' and 'bareland' mean the same class"),
        (["1.png"], "no class folders with images; expected layout: <class>"),
        (["--/1.png"], "class name '--' has no letters"),
    ],
)
def test_folders_that_make_no_classes_stop(
    own: Converter, save_image: Callable[..., Path], tmp_path: Path, names: list[str], message: str
) -> None:
    for name in names:
        save_image(name)
    with pytest.raises(ValueError, match=message):
        own.find_splits(tmp_path)
