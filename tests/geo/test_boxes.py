"""One object, one box."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rsunivlm.geo.boxes import is_cut, suppress


def iou(one, other):
    width, height = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared), shared / areas[1]


def reference(boxes, cut, classes, threshold):
    """The rule read aloud: whole before cut, large before small, early before late."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    for box in sorted(range(len(boxes)), key=lambda index: (cut[index], -area[index], index)):
        rivals = [iou(boxes[other], boxes[box]) for other in kept if classes[other] == classes[box]]
        if not any(same >= threshold or (cut[box] and covered >= threshold) for same, covered in rivals):
            kept.append(box)
    return sorted(kept)


side = st.integers(1, 12)
box = st.tuples(st.integers(0, 20), st.integers(0, 20), side, side, st.booleans(), st.integers(0, 1))


@settings(deadline=None)
@given(st.lists(box, max_size=25), st.sampled_from([0.1, 0.3, 0.5, 0.9, 1.0]))
def test_suppression_agrees_with_the_rule(found, threshold):
    rows = np.array(found, float).reshape(-1, 6)
    boxes = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1)
    cut, classes = rows[:, 4].astype(bool), rows[:, 5].astype(int)
    assert suppress(boxes, cut, classes, threshold).tolist() == reference(boxes, cut, classes, threshold)


def test_half_an_object_goes_and_a_neighbour_of_another_class_stays():
    boxes = np.array([[90, 10, 100, 30], [90, 10, 130, 30], [90, 10, 130, 30], [140, 10, 150, 30]], float)
    cut = is_cut(boxes, (0, 0, 100, 100), (300, 300))
    assert cut.tolist() == [True, False, False, False]
    classes = np.array([0, 0, 1, 0])
    assert suppress(boxes, cut, classes, 0.5).tolist() == [1, 2, 3]
    # The side of the scene cuts nothing off that another tile could see.
    assert not is_cut(boxes, (0, 0, 100, 100), (100, 100))[0]
