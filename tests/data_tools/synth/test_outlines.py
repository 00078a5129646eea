"""Labels must be exact: boxes and masks are compared with what is really drawn."""

import numpy as np
import pytest
from PIL import Image

from data_tools.synth.items import CATEGORIES, LABEL_INDEX
from data_tools.synth.outlines import outlines
from data_tools.synth.painter import LabelPainter
from data_tools.synth.scene import SCENE_CLASSES, label_map, make_scene, render

SIZE = 160
# A polygon covers every canvas pixel it touches, so a pointed corner reaches up to a pixel further.
TOLERANCE = 1.1


def bounding_box(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


@pytest.fixture(scope="module")
def scenes():
    return [make_scene(11, index, SIZE, kind=kind) for index, kind in enumerate(SCENE_CLASSES * 3)]


def test_every_vhr10_class_occurs(scenes):
    assert {thing.category for scene in scenes for thing in scene.objects} == set(CATEGORIES)


def test_box_is_the_extent_of_the_label_difference_without_the_object(scenes):
    checked = 0
    for scene in scenes:
        whole = scene.labels
        for thing in scene.objects[:12]:
            if thing.visible < 0.5 or thing.category == "harbor":
                continue
            rest = scene.items[: thing.item] + scene.items[thing.item + 1 :]
            gone = whole != label_map(rest, SIZE)
            assert np.abs(bounding_box(gone) - np.array(scene.box_px(thing.box))).max() <= TOLERANCE, (
                scene.kind,
                thing,
            )
            # A border pixel may go from one neighbour of the object to another.
            assert (whole[gone] == LABEL_INDEX[thing.category]).mean() > 0.95
            checked += 1
    assert checked > 150


def test_the_picture_changes_where_the_object_is_and_only_there_or_in_its_shadow():
    seen = {}
    for index, kind in enumerate(SCENE_CLASSES):
        scene = make_scene(12, index, SIZE, kind=kind)
        for thing in scene.objects:
            if thing.category in seen or thing.visible < 0.9:
                continue
            rest = scene.items[: thing.item] + scene.items[thing.item + 1 :]
            before, after = (
                np.asarray(render(items, scene.style, SIZE), int) for items in (rest, scene.items)
            )
            painter = LabelPainter(SIZE)
            for polygon in outlines(scene.items[thing.item]):
                painter.fill(polygon, 1)
            footprint = painter.reduced() == 1
            # Contrast is stretched about the mean of the picture, so a small change is everywhere.
            changed = np.abs(after - before).max(-1) > 8
            seen[thing.category] = changed[footprint].mean()
            assert changed[~footprint].mean() < 0.2
    assert len(seen) >= 9
    assert np.median(list(seen.values())) > 0.8


def test_supersampled_label_map_has_no_invented_class(scenes):
    for scene in scenes[:20]:
        used = {LABEL_INDEX[item.label or "others"] for item in scene.items}
        assert set(np.unique(scene.labels)) <= used | {0}


def test_reduced_takes_the_majority_and_the_object_on_a_tie():
    painter = LabelPainter(2)
    painter.canvas = Image.fromarray(
        np.array([[0, 5, 0, 0], [5, 5, 5, 0], [0, 0, 0, 0], [7, 7, 0, 0]], np.uint8)
    )
    np.testing.assert_array_equal(painter.reduced(), [[5, 0], [7, 0]])
