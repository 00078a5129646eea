"""Constant-box baselines against brute force."""

import numpy as np

from eval.baselines import most_frequent_box, most_frequent_box_elsewhere
from eval.metrics.boxes import box_iou


def unit_boxes(count, seed):
    rng = np.random.default_rng(seed)
    centre, half = rng.uniform(0.3, 0.7, (count, 2)), rng.uniform(0.1, 0.3, (count, 2))
    return np.concatenate([centre - half, centre + half], axis=1)


def hits(candidate, boxes):
    return int((box_iou(candidate, boxes) >= 0.5).sum())


def test_most_frequent_box_is_right_most_often():
    boxes = unit_boxes(80, 0)
    winner = most_frequent_box(boxes)
    assert hits(winner, boxes) == max(hits(box, boxes) for box in boxes)


def test_candidates_are_capped_but_all_boxes_vote():
    rng = np.random.default_rng(0)
    corner = np.tile([0.0, 0.0, 0.4, 0.4], (2100, 1)) + rng.uniform(0, 0.01, (2100, 1))
    other = np.tile([0.6, 0.6, 1.0, 1.0], (1900, 1))
    assert hits(most_frequent_box(np.concatenate([other, corner])), corner) == 2100


def test_elsewhere_never_uses_boxes_of_the_same_image():
    crowd, lone = [0.0, 0.0, 0.2, 0.2], [0.5, 0.5, 0.9, 0.9]
    boxes = np.array([crowd, crowd, crowd, lone, lone])
    fitted = most_frequent_box_elsewhere(boxes, ["a", "a", "a", "b", "c"])
    assert fitted.tolist() == [lone, lone, lone, crowd, crowd]


def test_elsewhere_equals_brute_force():
    boxes = unit_boxes(60, 1)
    images = np.random.default_rng(2).integers(0, 20, 60).tolist()
    fitted = most_frequent_box_elsewhere(boxes, images)
    for index, image in enumerate(images):
        others = boxes[[i for i, other in enumerate(images) if other != image]]
        assert any((fitted[index] == box).all() for box in others)
        assert hits(fitted[index], others) == max(hits(box, others) for box in others)


def test_elsewhere_needs_two_images():
    assert most_frequent_box_elsewhere(unit_boxes(3, 0), ["same"] * 3) is None
