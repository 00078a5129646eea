"""Which collection an image comes from: the known kinships agree, and nothing else does."""

from __future__ import annotations

import pytest

from data_tools.identity import _RULES, PATCHES, origin
from data_tools.registry import converters


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (("rsicd", "RSICD_images/airport_12.jpg"), ("aid", "Airport/airport_12.jpg"), ("AID", "airport_12")),
        (("rsitmd", "images/bareland_7.tif"), ("aid", "BareLand/bareland_007.jpg"), ("AID", "bareland_7")),
        (
            ("vrsbench", "Images_train/00002_0000.png"),
            ("dior_rsvg", "JPEGImages/00002.jpg"),
            ("DIOR", "00002"),
        ),
        (("opt_rsvg", "JPEGImages/11726.jpg"), ("dior_rsvg", "JPEGImages/11726.jpg"), ("DIOR", "11726")),
        (
            ("vrsbench", "Images_val/P0003_0002.png"),
            ("geochat_instruct", "share/P0003_0011.png"),
            ("DOTA", "P0003"),
        ),
        (
            ("rsicap", "RSIEval/images/P0003_0003.png"),
            ("vrsbench", "Images_train/P0003_0002.png"),
            ("DOTA", "P0003"),
        ),
        (
            ("geochat_instruct", "x/storage_tank_004.jpg"),
            ("nwpu_resisc45", "storage_tank/storage_tank_004.jpg"),
            ("NWPU-RESISC45", "storage_tank_004"),
        ),
        # 21 classes of 100: image 101 is the first of the second class, 2100 the last of all.
        (("ucm", "imgs/101.tif"), ("ucm", "Images/airplane/airplane00.tif"), ("UC Merced", "airplane00")),
        (
            ("ucm", "imgs/2100.tif"),
            ("ucm", "Images/tenniscourt/tenniscourt99.tif"),
            ("UC Merced", "tenniscourt99"),
        ),
    ],
)
def test_kin_agree_on_their_origin(
    first: tuple[str, str], second: tuple[str, str], expected: tuple[str, str]
) -> None:
    assert origin(*first) == origin(*second) == expected


@pytest.mark.parametrize(
    ("dataset", "image"),
    [
        ("rsicd", "RSICD_images/00002.jpg"),  # one of the 921 that are not AID's
        ("rsitmd", "images/plane_3.tif"),  # a class that AID does not have
        ("nwpu_resisc45", "beach/beach.jpg"),
        ("ucm", "imgs/2101.tif"),
        ("ucm", "imgs/0.tif"),
        ("vrsbench", "Images_train/whatever.png"),
        ("my_own_boxes", "JPEGImages/00002.jpg"),  # another --source: a user's own numbers
        ("rsvqa_lr", "Images_LR/2.tif"),
    ],
)
def test_other_names_tell_nothing(dataset: str, image: str) -> None:
    assert origin(dataset, image) is None


def test_classes_shared_by_two_collections_are_not_confused() -> None:
    assert origin("nwpu_resisc45", "beach/beach_100.jpg") != origin("aid", "Beach/beach_100.jpg")


def test_patches_are_datasets_with_a_rule() -> None:
    names = ("00001_0000.png", "P0001_0000.png")
    assert all(any(origin(dataset, name) for name in names) for dataset in PATCHES)


def test_every_rule_is_for_a_converter() -> None:
    assert set(_RULES) <= set(converters())
