"""NWPU-RESISC45: the usual lists, or a draw that keeps training and test apart without them."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_tools.converter import Sample, Settings
from data_tools.converters.nwpu_resisc45 import CLASSES, CONVERTERS, _draw, find_splits
from data_tools.report import ConversionReport

EXPECTED = (
    "airplane, airport, baseball diamond, basketball court, beach, bridge, chaparral, church, circular "
    "farmland, cloud, commercial area, dense residential, desert, forest, freeway, golf course, ground "
    "track field, harbor, industrial area, intersection, island, lake, meadow, medium residential, mobile "
    "home park, mountain, overpass, palace, parking lot, railway, railway station, rectangular farmland, "
    "river, roundabout, runway, sea ice, ship, snowberg, sparse residential, stadium, storage tank, tennis "
    "court, terrace, thermal power station, wetland"
)


@pytest.fixture
def root(tmp_path: Path, save_image) -> Path:
    """Images 1 to 20 of two classes, below the folder that the archive has."""
    for number in range(1, 21):
        for name in ("airplane", "sea_ice"):
            save_image(f"NWPU-RESISC45/{name}/{name}_{number:03}.jpg", (8, 8))
    return tmp_path


def read(root: Path, split: str, **options: int) -> tuple[list[Sample], ConversionReport]:
    report = ConversionReport("nwpu_resisc45")
    return list(CONVERTERS[0].read(split, Settings(root, **options), report)), report


def test_the_lists_decide_and_test_images_leave_the_other_lists(root: Path) -> None:
    lists = {
        "train": "sea_ice_001.jpg\nairplane_002.jpg\nairplane_003.jpg\n",
        "val": "airplane/airplane_004.jpg\n\nsea_ice_021.jpg\nvolcano_001.jpg\n",
        "test": "airplane_003.jpg\r\nairplane_005.jpg\r\n",
    }
    for split, lines in lists.items():
        (root / f"resisc45-{split}.txt").write_text(lines)
    assert find_splits(root) == ("train", "val", "test")
    train, report = read(root, "train")
    assert [(s.id, s.answers[0]) for s in train] == [
        ("train-airplane_002", "airplane"),
        ("train-sea_ice_001", "sea ice"),
    ]
    assert train[0].slots == {"classes": EXPECTED}
    assert len(CLASSES) == 45
    assert report.left_out == {"train: the image is in the test list too": 1}
    assert not report.warnings
    val, report = read(root, "val")
    assert [s.images[0] for s in val] == ["NWPU-RESISC45/airplane/airplane_004.jpg"]
    assert report.bad == {
        "resisc45-val.txt volcano_001.jpg": "the name begins with no class of NWPU-RESISC45",
        "NWPU-RESISC45/sea_ice/sea_ice_021.jpg": "image sea_ice_021.jpg is missing",
    }
    assert [s.id for s in read(root, "test")[0]] == ["test-airplane_003", "test-airplane_005"]


def test_half_a_set_of_lists_stops(root: Path) -> None:
    (root / "resisc45-test.txt").write_text("airplane_001.jpg\n")
    with pytest.raises(ValueError, match=r"no resisc45-train\.txt, resisc45-val\.txt; add it or remove"):
        find_splits(root)


def test_without_lists_every_image_is_in_one_split_whatever_the_seed(root: Path) -> None:
    stems = {split: [s.images for s in read(root, split)[0]] for split in find_splits(root)}
    together = [images for found in stems.values() for images in found]
    assert len(together) == len(set(together)) == 40
    assert stems["test"] == [s.images for s in read(root, "test", seed=5)[0]]
    assert "scores do not compare" in read(root, "test")[1].warnings[0]
    (root / "NWPU-RESISC45/airplane/airplane_001.jpg").unlink()  # a missing file moves no other
    assert {s.images for s in read(root, "train")[0]} <= set(stems["train"])


def test_the_draw_has_the_sizes_of_the_lists_in_every_class() -> None:
    for label in CLASSES:
        draw = _draw(label)
        assert {split: len(numbers) for split, numbers in draw.items()} == {
            "train": 420,
            "val": 140,
            "test": 140,
        }
        assert frozenset().union(*draw.values()) == frozenset(range(1, 701))
    assert len({_draw(label)["test"] for label in CLASSES}) == 45


def test_a_file_without_a_number_has_no_split(root: Path, save_image) -> None:
    save_image("NWPU-RESISC45/airplane/airplane_701.jpg")
    save_image("NWPU-RESISC45/airplane/extra.jpg")
    assert list(read(root, "train")[1].bad) == ["airplane_701.jpg", "extra.jpg"]
