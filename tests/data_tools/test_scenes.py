"""What scene sets share: finding class folders, walking through them, asking for the class."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from data_tools.converter import Settings
from data_tools.report import ConversionReport
from data_tools.scenes import Scene, find_class_root, folder_needs, labelled_images, samples
from rsunivlm.tasks import Task

CLASSES = ("bare land", "park")


@pytest.mark.parametrize("folder", ["bareland", "inner/BareLand", "Data set/12class_tif/Bare_Land"])
def test_class_folders_are_found_up_to_two_folders_deep(tmp_path: Path, folder: str) -> None:
    (tmp_path / "aside").mkdir()
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "x.jpg").touch()
    assert find_class_root(tmp_path, CLASSES, "layout") == (tmp_path / folder).parent
    assert any(tmp_path.glob(folder_needs(CLASSES)[0]))  # the manifest's pattern sees the same folder
    assert not any(tmp_path.glob(folder_needs(CLASSES)[1]))


def test_no_class_folder_shows_the_layout(tmp_path: Path) -> None:
    (tmp_path / "parks").mkdir()
    with pytest.raises(ValueError, match=r"no class folders; expected layout: <class>/\*\.jpg"):
        find_class_root(tmp_path, CLASSES, "<class>/*.jpg")


def test_only_visible_image_files_of_known_classes_count(tmp_path: Path) -> None:
    files = ["bare_land/b.TIF", "bare_land/a.jpeg", "bare_land/c.bmp", "bare_land/.d.jpg", "bare_land/e.txt"]
    for name in (*files, "Lake/f.png", "Lake/g.png", "docs/h.pdf", "__MACOSX/i.jpg", ".j/k.jpg", "l.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    report = ConversionReport("x")
    found = [(label, path.name) for label, path in labelled_images(tmp_path, CLASSES, "X", report)]
    assert found == [("bare land", "a.jpeg"), ("bare land", "b.TIF"), ("bare land", "c.bmp")]
    assert report.bad == {"Lake": "the folder's name is no class of X"}
    assert report.bad_samples == 2
    assert report.warnings == ["no images of park in X"]


def test_a_scene_gives_captions_and_a_class_that_may_stay_untrained(
    tmp_path: Path, save_image: Callable[..., Path]
) -> None:
    save_image("a.png")
    entry = {"filename": "a.png", "sentences": [{"raw": " a park ."}]}
    report = ConversionReport("x")

    def made(split: str) -> list[tuple[str, Task, bool]]:
        scene = Scene(split, "a", "a.png", "park", CLASSES, entry, untrained="leak")
        return [(s.id, s.task, s.training) for s in samples(scene, Settings(tmp_path), report)]

    assert made("train") == [("train-a", Task.CAP, True), ("train-a-sc", Task.SC, False)]
    assert report.left_out == {"leak": 1}
    assert made("test") == [("test-a", Task.CAP, True), ("test-a-sc", Task.SC, False)]
    assert report.left_out == {"leak": 1}  # a test split trains nothing anyway
    (tmp_path / "a.png").unlink()
    assert made("train") == []
    assert (report.bad, report.bad_samples) == ({"a.png": "image a.png is missing"}, 2)
