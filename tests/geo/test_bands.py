"""Which bands are looked at, and one stretch for the whole scene."""

import numpy as np
import pytest

from rsunivlm.geo.bands import Stretch, choose_bands, read_percentiles

RGB = ["red", "green", "blue"]


@pytest.mark.parametrize(
    ("colours", "asked", "chosen"),
    [
        (RGB, None, [1, 2, 3]),
        (["blue", "green", "red", "undefined"], None, [3, 2, 1]),
        (["alpha", "gray", "undefined", "undefined"], None, [2, 3, 4]),
        (["gray"], None, [1]),
        (["gray", "alpha"], None, [1]),
        (["gray", "undefined"], None, [1]),
        (["undefined"] * 8, [4, 3, 2], [4, 3, 2]),
        (["undefined"] * 8, [8], [8]),
    ],
)
def test_choice(colours, asked, chosen):
    assert choose_bands(len(colours), colours, asked, "a.tif") == chosen


@pytest.mark.parametrize(
    ("colours", "asked", "message"),
    [
        (RGB, [1, 2, 4], r"a.tif has bands 1..3; there is no band 4 \(--bands\)"),
        (RGB, [0], "no band 0"),
        (RGB, [1, 2], "three numbers .* or one, got 2"),
        (["alpha"], None, "no band but alpha"),
    ],
)
def test_wrong_bands(colours, asked, message):
    with pytest.raises(ValueError, match=message):
        choose_bands(len(colours), colours, asked, "a.tif")


def test_stretch_by_hand():
    samples = np.array([np.arange(101), np.full(101, 7)], np.uint16)
    stretch = Stretch.of(samples, (2, 98))
    assert stretch == Stretch((2.0, 7.0), (98.0, 7.0))
    values = np.array([[[0, 2, 50, 98, 60000]], [[7, 0, 7, 9, 7]]], np.uint16)
    assert stretch.apply(values).tolist() == [[[0, 0, 128, 255, 255]], [[0, 0, 0, 0, 0]]]
    assert Stretch.of(samples[:, :0], (2, 98)).apply(values).max() == 0


def test_what_is_not_a_number_is_black():
    stretch = Stretch((0.0,), (1.0,))
    values = np.array([[[np.nan, np.inf, -np.inf, 1.0]]], np.float32)
    assert stretch.apply(values).tolist() == [[[0, 255, 0, 255]]]


def test_percentiles_as_written():
    assert read_percentiles("none") is None
    assert read_percentiles("2, 98") == (2, 98)
    for wrong in ("98,2", "2", "a,b", "0,101"):
        with pytest.raises(ValueError, match="--stretch"):
            read_percentiles(wrong)
