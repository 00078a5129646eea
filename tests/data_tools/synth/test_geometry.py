"""Hand-worked shapes."""

import math

import pytest

from data_tools.synth.geometry import bounds, capsule, clip_polygon, convex_overlap, place, rectangle, ribbon


def test_place_turns_clockwise_on_the_screen():
    (point,) = place([(1.0, 0.0)], 0.5, 0.5, math.pi / 2, sx=0.2)
    assert point == pytest.approx((0.5, 0.7))


def test_rectangle_and_capsule_extents():
    assert bounds(rectangle(0.5, 0.5, 0.4, 0.2, math.pi / 2)) == pytest.approx((0.4, 0.3, 0.6, 0.7))
    assert bounds(capsule(0.5, 0.5, 0.4, 0.2, 0.0)) == pytest.approx((0.3, 0.4, 0.7, 0.6))


def test_ribbon_has_the_asked_width():
    assert bounds(ribbon([(0.0, 0.5), (1.0, 0.5)], 0.1)) == pytest.approx((0.0, 0.45, 1.0, 0.55))


def test_clipping_a_turned_square_gives_the_box_of_what_is_left():
    # A diamond around the origin with half diagonal 0.2 keeps the triangle (0,0) (0.2,0) (0,0.2).
    diamond = [(0.2, 0.0), (0.0, 0.2), (-0.2, 0.0), (0.0, -0.2)]
    assert bounds(clip_polygon(diamond)) == pytest.approx((0.0, 0.0, 0.2, 0.2))
    # Moved up-left by 0.05 each way its corner points leave the image, so less than the clipped box remains.
    moved = [(x - 0.05, y - 0.05) for x, y in diamond]
    assert bounds(clip_polygon(moved)) == pytest.approx((0.0, 0.0, 0.1, 0.1))
    assert clip_polygon([(x - 0.5, y) for x, y in diamond]) == []


def test_convex_overlap_sees_the_gap_that_boxes_do_not():
    one = rectangle(0.3, 0.3, 0.4, 0.05, math.pi / 4)
    other = rectangle(0.4, 0.25, 0.4, 0.05, math.pi / 4)
    assert not convex_overlap(one, other)
    assert convex_overlap(one, rectangle(0.35, 0.33, 0.4, 0.05, math.pi / 4))
