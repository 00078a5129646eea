"""The change mask is exactly what differs on the ground, and captions say so."""

from random import Random

import numpy as np
import pytest

from data_tools.synth.change_captions import NO_CHANGE, change_captions
from data_tools.synth.items import LABEL_INDEX
from data_tools.synth.pairs import CHANGES, MAX_SHIFT, make_pair

BUILDING = LABEL_INDEX["building"]


@pytest.fixture(scope="module")
def pairs():
    return [make_pair(51, index, 96, shift=False) for index in range(120)]


def test_mask_is_the_difference_of_the_building_labels(pairs):
    for index, pair in enumerate(pairs):
        before, after = (labels == BUILDING for labels in pair.labels)
        changed, mask = before != after, pair.change_mask == 1
        # Where four things meet in one pixel, none has the majority and the label map may differ.
        assert (changed != mask).sum() <= 2, index


def test_every_change_occurs_and_means_what_it_says(pairs):
    assert {pair.change for pair in pairs} == set(CHANGES)
    for pair in pairs:
        before, after = (
            sum(item.kind == "building" for item in items) for items in (pair.before, pair.after)
        )
        roads = [sum(item.kind == "road" for item in items) for items in (pair.before, pair.after)]
        sign = {"none": 0, "road": 0, "demolition": -1}.get(pair.change, 1)
        assert after - before == sign * pair.houses
        assert bool(pair.houses) == (sign != 0) == bool(pair.change_mask.any())
        assert roads[1] - roads[0] == (pair.change in ("road", "houses and road"))


def test_without_a_change_only_light_and_cars_differ(pairs):
    for pair in pairs:
        if pair.change == "none":
            fixed = [
                tuple(item for item in items if item.kind != "vehicle") for items in (pair.before, pair.after)
            ]
            assert fixed[0] == fixed[1]
            assert pair.styles[0] != pair.styles[1]


def test_captions(pairs):
    for index, pair in enumerate(pairs):
        texts = change_captions(pair, Random(index))
        assert len(texts) == len(set(texts)) >= 3
        assert all(text.endswith(" .") for text in texts)
        unchanged = {f"{text} ." for text in NO_CHANGE}
        assert (set(texts) <= unchanged) == (pair.change == "none")
        if pair.where:
            y, x = np.nonzero(pair.change_mask)
            assert (y.mean() < 48) == pair.where.startswith("upper")
            assert (x.mean() < 48) == pair.where.endswith("left")


def test_registration_error_is_small_and_kept_in_the_mask():
    moved, still = (make_pair(51, 7, 160, change="houses", shift=shift) for shift in (True, False))
    for a, b in zip(moved.after, still.after, strict=True):
        assert abs(a.x - b.x) <= MAX_SHIFT
        assert abs(a.y - b.y) <= MAX_SHIFT
    after = moved.labels[1] == BUILDING
    assert after[moved.change_mask == 1].all()


def test_unknown_change_is_named():
    with pytest.raises(ValueError, match="flood"):
        make_pair(0, 0, change="flood")
