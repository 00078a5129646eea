"""Pictures and label images are read or cut, and what is bad is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_tools.converter import Settings
from data_tools.crops import Window, windows
from data_tools.labelled_images import LabelledFiles, cut, named_classes, paired, read_whole
from data_tools.report import ConversionReport
from data_tools.segmentation import Labelled, legend

ROAD = legend({0: "background", 1: "road"})
COLOURS = legend({0: "background", 1: "road"}, palette={(0, 0, 0): 0, (255, 0, 0): 1}, nearest=True)


@pytest.fixture
def files(tmp_path: Path, save_image: Callable[..., Path]) -> LabelledFiles:
    """A picture of 48 x 32 and a mask whose pixels tell the columns apart."""
    save_image("root/a.png", (48, 32))
    save_image("root/m.png", values=np.tile(np.arange(48, dtype=np.uint8) % 2, (32, 1)))
    return LabelledFiles("train", "a", ("a.png",), "m.png")


def crops(size: tuple[int, int]) -> Iterator[tuple[str, Window]]:
    for window in windows(size, 32):
        yield f"a_{window}", window


def read(files: LabelledFiles, root: Path, **options: Any) -> tuple[list[Labelled], ConversionReport]:
    report = ConversionReport("any")
    return list(read_whole(files, ROAD, Settings(root / "root"), report, **options)), report


def cutting(files: LabelledFiles, root: Path, meaning: Any = ROAD) -> tuple[list[Labelled], ConversionReport]:
    report = ConversionReport("any")
    settings = Settings(root / "root", out=root / "out")
    return list(cut(files, crops, 9, meaning, settings, report)), report


def test_a_whole_picture_stays_where_it_is(files: LabelledFiles, tmp_path: Path) -> None:
    (found,), report = read(files, tmp_path)
    assert (found.id, found.images, found.mask, found.as_downloaded) == ("train-a", ("a.png",), "m.png", True)
    assert found.values.tolist()[0] == [0, 1] * 24
    assert not report.bad


@pytest.mark.parametrize(
    ("change", "file", "reason"),
    [
        ({"images": ("",)}, "m.png", "its image is missing"),
        ({"mask": ""}, "a.png", "its mask is missing"),
        ({"images": ("",), "mask": ""}, "train a", "its image is missing"),
        ({"mask": "gone.png"}, "a.png", "image gone.png is missing"),
        ({"images": ("a.png", "small.png")}, "a.png", "mask is 48 x 32, its image 32 x 32"),
        ({"images": ("../a.png",)}, "../a.png", "must be relative to the image root"),
    ],
)
def test_what_is_bad_is_named_and_counted(
    files: LabelledFiles,
    tmp_path: Path,
    save_image: Callable[..., Path],
    change: dict[str, Any],
    file: str,
    reason: str,
) -> None:
    save_image("root/small.png", (32, 32))
    bad = replace(files, **change)
    for found, report, lost in (
        (*read(bad, tmp_path), 1),
        (*read(bad, tmp_path, lost=5), 5),
        (*cutting(bad, tmp_path), 9),
    ):
        assert not found
        assert list(report.bad) == [file]
        assert reason in report.bad[file]
        assert report.bad_samples == lost


def test_crops_are_cut_to_files_of_their_own(files: LabelledFiles, tmp_path: Path) -> None:
    found, report = cutting(files, tmp_path)
    assert [(crop.id, crop.images, crop.mask) for crop in found] == [
        (f"train-{name}", (f"images/train/{name}.png",), f"masks/train/{name}.png")
        for name in ("a_0_0_32_32", "a_16_0_48_32")
    ]
    with (
        Image.open(tmp_path / "root/a.png") as whole,
        Image.open(tmp_path / "out" / found[1].images[0]) as crop,
    ):
        np.testing.assert_array_equal(np.asarray(crop), np.asarray(whole)[:, 16:48])
    with Image.open(tmp_path / "out" / found[1].mask) as mask:
        np.testing.assert_array_equal(np.asarray(mask), found[1].values)
    assert not found[1].as_downloaded
    assert not report.bad


def test_an_interrupted_cut_goes_on(files: LabelledFiles, tmp_path: Path) -> None:
    first = tmp_path / "out" / cutting(files, tmp_path)[0][0].images[0]
    before = first.stat()
    (tmp_path / "out/images/train/a_16_0_48_32.png").unlink()
    found, _ = cutting(files, tmp_path)
    assert all((tmp_path / "out" / crop.images[0]).is_file() for crop in found)
    assert first.stat().st_mtime_ns == before.st_mtime_ns


def test_a_bad_window_spoils_only_its_crop(
    files: LabelledFiles, tmp_path: Path, save_image: Callable[..., Path]
) -> None:
    values = np.zeros((32, 48), np.uint8)
    values[0, 40] = 7
    save_image("root/m.png", values=values)
    found, report = cutting(files, tmp_path)
    assert [crop.id for crop in found] == ["train-a_0_0_32_32"]
    assert report.bad == {"a.png crop a_16_0_48_32": "mask values [7] have no class name"}
    assert report.bad_samples == 1
    assert not (tmp_path / "out/images/train/a_16_0_48_32.png").exists()


def test_pairs_are_cut_alike_and_strange_colours_are_said_once(
    tmp_path: Path, save_image: Callable[..., Path]
) -> None:
    pair = LabelledFiles("test", "a", ("A/p.png", "B/p.png"), "m.png")
    for side in "AB":
        save_image(f"root/{side}/p.png", (48, 32))
    values = np.zeros((32, 48, 3), np.uint8)
    values[..., 0] = 250
    save_image("root/m.png", values=values)
    found, report = cutting(pair, tmp_path, COLOURS)
    assert found[0].images == ("images/A/test/a_0_0_32_32.png", "images/B/test/a_0_0_32_32.png")
    assert all((crop.values == 1).all() for crop in found)
    assert report.warnings == ["m.png has colours that are not in the palette: the nearest was taken"]


def test_stems_bring_files_together_whatever_their_suffixes(
    tmp_path: Path, save_image: Callable[..., Path]
) -> None:
    for name in ("src/b.JPG", "src/a.tif", "src/.a.png", "gt/b.png", "gt/c.png"):
        save_image(name)
    (tmp_path / "src/Thumbs.db").write_text("")
    assert [
        (files.name, files.images, files.mask) for files in paired(tmp_path, "val", ("src",), "gt", "x-")
    ] == [
        ("x-a", ("src/a.tif",), ""),
        ("x-b", ("src/b.JPG",), "gt/b.png"),
        ("x-c", ("",), "gt/c.png"),
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (["building"], "must map pixel values to class names"),
        ({"0": 5}, "must map pixel values to class names"),
        ({"#ff0000": "road"}, "pixel values must be whole numbers .*colour_masks"),
        ({"0": "others"}, "must hold distinct names"),
    ],
)
def test_an_unusable_class_file_stops(
    tmp_path: Path, save_json: Callable[[str, Any], Path], content: Any, words: str
) -> None:
    save_json("classes.json", content)
    with pytest.raises(ValueError, match=words):
        named_classes(Settings(tmp_path))
    assert named_classes(Settings(tmp_path, classes={1: "Solar_Farm"})).asked == {1: "solar farm"}
