"""Masks: text, file and question, on a 4 x 4 grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_tools.doctor.findings import Kind
from data_tools.doctor.masks import MaskChecker
from rsunivlm.codecs import MaskCodec

# Left half building, except the not annotated lower left quarter.
VALUES = np.zeros((8, 8), np.uint8)
VALUES[:, :4] = 1
VALUES[4:, :4] = 9
TEXT = "\n".join(["building*2, others*2"] * 2 + ["others*4"] * 2)
TARGET = {"mask": "m.png", "labels": ["others", "building"], "value": 1, "ignore": [9]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    Image.fromarray(VALUES).save(tmp_path / "m.png")
    colours = np.zeros((8, 8, 3), np.uint8)
    colours[VALUES == 1] = (0, 0, 255)
    colours[VALUES == 9] = (255, 255, 0)
    Image.fromarray(colours).save(tmp_path / "c.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "c.png").read_bytes()[:40])
    return tmp_path


def kinds(root: Path, text: str = TEXT, deep: bool = True, size: Any = (8, 8), **changes: Any) -> list[Kind]:
    checker = MaskChecker(root, MaskCodec(grid=4), deep)
    return [kind for kind, _ in checker.check(text, TARGET | changes, size)]


def test_sound_masks_of_values_and_of_colours(root: Path) -> None:
    assert kinds(root) == []
    assert kinds(root, mask="c.png", value=[0, 0, 255], ignore=[[255, 255, 0]]) == []
    assert kinds(root, size=None) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"text": TEXT.replace("building*2", "castle*2", 1)}, Kind.MASK_LABEL),
        ({"text": TEXT.replace("building*2", "building*3", 1)}, Kind.MASK_TEXT),
        ({"text": TEXT.rsplit("\n", 1)[0]}, Kind.MASK_TEXT),
        ({"text": TEXT.replace("building*2, others*2", "building*1, others*3", 1)}, Kind.MASK_DIFFERS),
        ({"value": 9, "ignore": []}, Kind.MASK_DIFFERS),
        ({"mask": "none.png"}, Kind.MASK_MISSING),
        ({"mask": "broken.png"}, Kind.MASK_UNREADABLE),
        ({"mask": "../m.png"}, Kind.OUTSIDE),
        ({"size": (8, 9)}, Kind.MASK_SIZE),
        ({"labels": ["others", "building", "road"]}, Kind.NO_TRUTH),
        ({"labels": ["building", "building"]}, Kind.NO_TRUTH),
        ({"value": "1"}, Kind.NO_TRUTH),
        ({"ignore": [[1, 2]]}, Kind.NO_TRUTH),
    ],
)
def test_faults(root: Path, changes: dict[str, Any], expected: Kind) -> None:
    assert kinds(root, **changes) == [expected]


def test_without_deep_the_mask_is_not_decoded(root: Path) -> None:
    assert kinds(root, deep=False, value=9, ignore=[]) == []
    assert kinds(root, deep=False, size=(9, 8)) == [Kind.MASK_SIZE]


def test_values_are_gathered_once_per_mask(root: Path) -> None:
    checker = MaskChecker(root, MaskCodec(grid=4), deep=True)
    for value in (1, 9):
        list(checker.check(TEXT, TARGET | {"value": value, "ignore": []}, (8, 8)))
    assert checker.values == {0: (1, "m.png"), 1: (1, "m.png"), 9: (1, "m.png")}
    assert checker.asked == {1, 9}
