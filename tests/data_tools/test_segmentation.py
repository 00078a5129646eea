"""Label images become values, values become questions."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_tools.converter import Settings
from data_tools.segmentation import Labelled, Legend, change_samples, draw, legend, mask_samples
from rsunivlm.codecs import MaskCodec
from rsunivlm.tasks import Task

LAND = legend({0: "unlabeled", 1: "building", 2: "Low_Vegetation", 3: "water", 4: "others"})
FOUR = MaskCodec(4)
COLOURS = st.tuples(*[st.integers(0, 255)] * 3)


def settings(**options: Any) -> Settings:
    return Settings(Path("."), masks=FOUR, **options)


def labelled(values: np.ndarray, **options: Any) -> Labelled:
    return Labelled("train-a", ("images/a.jpg",), "masks/a.png", values.astype(np.int32), **options)


def scene() -> np.ndarray:
    """Left half building, a 2 px speck of water, right quarter unlabelled, the rest others."""
    values = np.full((32, 32), 4)
    values[:, :16] = 1
    values[:2, 16:18] = 3
    values[:, 24:] = 0
    return values


def test_names_become_words_and_say_what_is_asked() -> None:
    assert dict(LAND.asked) == {1: "building", 2: "low vegetation", 3: "water"}
    assert LAND.ignored == (0,)


@pytest.mark.parametrize("names", [{0: "others"}, {0: "void", 1: "ignore"}, {1: "a", 2: "A"}])
def test_unusable_class_names_are_refused(names: dict[int, str]) -> None:
    with pytest.raises(ValueError, match="must hold distinct names"):
        legend(names)


@given(st.dictionaries(COLOURS, st.integers(0, 5), min_size=1, max_size=8), st.randoms())
def test_colours_of_the_palette_become_their_values(palette: dict[Any, int], random: Any) -> None:
    drawn = [random.choice(list(palette)) for _ in range(12)]
    values, strange = Legend({}, (), palette=palette).read(np.array(drawn, np.uint8).reshape(3, 4, 3))
    assert values.ravel().tolist() == [palette[colour] for colour in drawn]
    assert strange == 0


def test_a_strange_colour_is_refused_or_counts_as_the_nearest() -> None:
    palette = {(255, 0, 0): 6, (0, 0, 255): 2, (255, 255, 0): 5}
    pixels = np.array([[[250, 5, 4], [255, 0, 0], [200, 190, 30], [0, 0, 254]]], np.uint8)
    names = {6: "clutter", 2: "building", 5: "car"}
    with pytest.raises(
        ValueError, match=r"mask has 3 unknown colours, e\.g\. \(0, 0, 254\), \(200, 190, 30\)"
    ):
        legend(names, palette=palette).read(pixels)
    values, strange = legend(names, palette=palette, nearest=True).read(pixels)
    # (200, 190, 30) is 55, 65, 30 away from yellow and 55, 190, 30 from red.
    assert (values.tolist(), strange) == ([[6, 6, 5, 2]], 3)


def test_pixel_values_may_stand_for_others() -> None:
    mosaics = legend({0: "background", 255: "building"}, codes={0: 0, 1: 255, 255: 255})
    assert mosaics.read(np.array([[0, 1, 255]], np.uint8))[0].tolist() == [[0, 255, 255]]
    with pytest.raises(ValueError, match=r"mask values \[2, 9\] have no class name"):
        mosaics.read(np.array([[9, 2, 0]], np.uint8))


def test_every_class_is_asked_and_the_visible_ones_are_trained() -> None:
    samples = list(mask_samples(labelled(scene()), LAND, settings()))
    assert [(sample.slots["label"], sample.training) for sample in samples] == [
        ("building", True),
        ("low vegetation", False),  # not there
        ("water", False),  # there, but smaller than a cell: the text would say that it is not
    ]
    building = samples[0]
    assert building.answers == ("\n".join(["building*2, others*2"] * 4),)
    assert building.task is Task.SS
    assert building.target == {
        "mask": "masks/a.png",
        "labels": ["others", "building"],
        "value": 1,
        "ignore": [0],
    }
    assert samples[1].id == "train-a-low-vegetation"


def test_unlabelled_pixels_take_no_part_in_a_vote() -> None:
    values = np.zeros((8, 8))
    values[:4, :1] = 1  # a quarter of the left upper cell, and all that is labelled there
    coarse = Settings(Path("."), masks=MaskCodec(2, encode_rule="majority"))
    building = next(mask_samples(labelled(values), LAND, coarse))
    assert building.answers == ("building*1, others*1\nothers*2",)


def test_absent_classes_can_be_asked_in_training() -> None:
    samples = list(mask_samples(labelled(scene()), LAND, settings(absent_labels=1)))
    assert [sample.slots["label"] for sample in samples if sample.training] == ["building", "low vegetation"]
    assert samples[1].answers == ("\n".join(["others*4"] * 4),)


def test_a_colour_names_the_truth_only_where_the_mask_stays_as_it_is() -> None:
    meaning = legend({0: "void", 1: "road"}, palette={(9, 9, 9): 0, (1, 2, 3): 1})
    values = np.ones((4, 4))
    for as_downloaded, value, ignore in ((True, [1, 2, 3], [[9, 9, 9]]), (False, 1, [0])):
        (road,) = mask_samples(labelled(values, as_downloaded=as_downloaded), meaning, settings())
        assert (road.target["value"], road.target["ignore"]) == (value, ignore)


def test_no_change_is_taught_but_not_for_a_change_below_a_cell() -> None:
    change = legend({0: "background", 128: "road", 255: "building"})
    values = np.zeros((32, 32))
    values[:2, :2] = 255
    samples = list(change_samples(labelled(values), change, settings()))
    assert [(sample.slots["label"], sample.training) for sample in samples] == [
        ("road", True),
        ("building", False),
    ]
    assert {sample.task for sample in samples} == {Task.CD}
    assert samples[0].answers == ("\n".join(["others*4"] * 4),)


def test_lots_are_fair() -> None:
    first = Counter(
        min(range(3), key=lambda value: draw(0, f"{number:012}", value)) for number in range(3000)
    )
    # Three standard deviations of a third of 3000 are 77.
    assert all(abs(count - 1000) < 77 for count in first.values())
    assert draw(0, "a", 1) == draw(0, "a", 1) != draw(1, "a", 1)
