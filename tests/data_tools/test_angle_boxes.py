"""Boxes in angle brackets: what is written is what is read, and nothing else is read at all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.angle_boxes import (
    AngleBox,
    NoAreaError,
    find_boxes,
    from_centre,
    from_corners,
    without_boxes,
)

NUMBERS = st.decimals(-99, 199, places=2).map(float)


def box(*numbers: float, angle: float | None = None) -> AngleBox:
    return AngleBox(numbers, angle, barred=angle is not None, start=0, end=0)


@settings(deadline=None)
@given(
    st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.none() | NUMBERS), max_size=3), st.booleans()
)
def test_boxes_are_found_as_written(written: list, barred: bool) -> None:
    bar = "|" if barred else ""
    texts = [
        "{" + "".join(f"<{value}>" for value in numbers) + ("" if angle is None else f"{bar}<{angle}>") + "}"
        for *numbers, angle in written
    ]
    text = "two ships " + "<delim>".join(texts) + " at a pier"
    found = find_boxes(text)
    assert [(*box.numbers, box.angle) for box in found] == written
    assert [text[box.start : box.end] for box in found] == texts
    assert without_boxes(text) == "two ships at a pier"


@pytest.mark.parametrize(
    "text", ["{<1><2><3>}", "{<1><2><3><4>|5}", "<1><2><3><4>", "{<1,2><3,4>}", "{1 2 3 4}", "a } b"]
)
def test_what_only_looks_like_a_box_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        find_boxes(f"here {{<1><2><3><4>}} and {text}")


def test_corners_are_scaled_clamped_and_checked() -> None:
    inside = from_corners(box(25, 40, 33, 60, angle=90), (512, 256))
    assert inside.corners == (128.0, 102.4, 168.96, 153.6)
    assert not inside.clamped
    beyond = from_corners(box(-73, 10, 196, 90), (200, 100))
    assert beyond.corners == (0.0, 10.0, 200.0, 90.0)
    assert beyond.clamped
    for nowhere in (box(104, 0, 154, 50), box(20, 30, 20, 40), box(-9, 0, 0, 50)):
        with pytest.raises(NoAreaError):
            from_corners(nowhere, (512, 512))
    for slip, reason in ((box(50, 10, 40, 20), "reversed"), (box(10, 10, 20, 981), "far outside")):
        with pytest.raises(ValueError, match=reason):
            from_corners(slip, (512, 512))


@settings(deadline=None)
@given(
    st.tuples(st.floats(30, 70), st.floats(30, 70), st.floats(1, 40), st.floats(1, 40)),
    st.floats(-720, 720),
)
def test_the_hull_is_that_of_the_turned_corners(numbers: tuple, angle: float) -> None:
    x, y, width, height = numbers
    turn = np.radians(angle)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    corners = signs * [width / 2, height / 2] @ rotation.T + [x, y]
    expected = np.concatenate([corners.min(0), corners.max(0)]) * 2
    for sign in (1, -1):
        hull = from_centre(box(*numbers, angle=sign * angle), (200, 200))
        np.testing.assert_allclose(hull.corners, expected, atol=1e-5)


def test_a_turned_box_at_the_border_is_cut_there() -> None:
    ends_there = from_centre(box(90, 50, 40, 20, angle=90), (100, 100))
    assert ends_there.corners == (80.0, 30.0, 100.0, 70.0)
    assert not ends_there.clamped
    assert from_centre(box(95, 50, 20, 10, angle=0), (100, 100)).corners == (85.0, 45.0, 100.0, 55.0)
    with pytest.raises(ValueError, match="centre outside"):
        from_centre(box(101, 50, 20, 10, angle=0), (100, 100))
    with pytest.raises(ValueError, match="square"):
        from_centre(box(50, 50, 20, 10, angle=0), (100, 50))
