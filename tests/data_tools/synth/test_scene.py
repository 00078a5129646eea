"""Scenes are functions of their seed, of every class, and say what they show."""

from random import Random

import numpy as np
import pytest

from data_tools.synth.captions import captions, quantity
from data_tools.synth.scene import SCENE_CLASSES, make_scene


def test_same_seed_same_scene_and_other_seeds_differ():
    one, again = make_scene(3, 5, 96), make_scene(3, 5, 96)
    assert one.items == again.items
    assert one.style == again.style
    np.testing.assert_array_equal(np.asarray(one.picture), np.asarray(again.picture))
    others = [make_scene(3, 6, 96), make_scene(4, 5, 96), make_scene(3, 5, 96, split="eval")]
    assert all(other.items != one.items for other in others)


def test_geometry_does_not_depend_on_size():
    small, large = make_scene(3, 8, 64), make_scene(3, 8, 320)
    assert small.items == large.items
    assert large.picture.size == (320, 320)
    shrunk = np.asarray(large.picture.resize((64, 64)), float)
    assert np.abs(shrunk - np.asarray(small.picture, float)).mean() < 20


def test_every_class_can_be_made_and_unknown_ones_are_named():
    for index, kind in enumerate(SCENE_CLASSES):
        scene = make_scene(1, index, 48, kind=kind)
        assert scene.kind == kind
        assert np.asarray(scene.picture).std() > 2
    with pytest.raises(ValueError, match="volcano"):
        make_scene(0, 0, kind="volcano")


def test_captions_are_rsicd_like_and_name_only_what_is_there():
    for index in range(150):
        scene = make_scene(41, index, 48)
        references = captions(scene, Random(index))
        assert 1 <= len(references) == len(set(references)) <= 5
        for text in references:
            assert text.endswith(" .")
            assert text == text.lower()
            for word, category in (("plane", "airplane"), ("ship", "ship"), ("tank", "storage tank")):
                if word in text.split() or f"{word}s" in text.split():
                    assert scene.of(category), (index, text)


@pytest.mark.parametrize(
    ("count", "text"),
    [(1, "an oil tank"), (2, "two oil tanks"), (5, "several oil tanks"), (9, "many oil tanks")],
)
def test_quantity(count, text):
    assert quantity("oil tank", count) == text
