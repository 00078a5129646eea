"""Lines and tints are where they belong, and nowhere else."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFont

from rsunivlm.drawing import (
    blend_mask,
    dash_boxes,
    draw_boxes,
    enlarge,
    fit_side,
    frame_boxes,
    outline_mask,
    side_by_side,
    wrap_text,
)

GREY, RED = (128, 128, 128), (255, 0, 0)
FONT = ImageFont.load_default(14)


def grey(width: int = 160, height: int = 160) -> Image.Image:
    return Image.new("RGB", (width, height), GREY)


def test_small_pictures_are_enlarged_and_strips_stay_within_bounds() -> None:
    assert [enlarge(grey(*size))[0].size for size in ((60, 40), (600, 500))] == [(720, 480), (600, 500)]
    strip, scale = enlarge(grey(1000, 1))
    assert (strip.size, scale) == ((4096, 4), 4.096)


def test_boxes_are_drawn_where_they_are() -> None:
    picture = grey()
    draw_boxes(picture, np.array([[20, 30, 60, 90]]), RED)
    assert picture.getpixel((20, 60)) == RED
    assert picture.getpixel((40, 30)) == RED
    assert picture.getpixel((40, 60)) == picture.getpixel((150, 150)) == GREY


def test_frames_leave_the_object_uncovered() -> None:
    picture = grey()
    frame_boxes(picture, [[10, 15, 30, 45]], RED, 3, scale=2)
    red = (np.asarray(picture) == RED).all(axis=-1)
    assert not red[30:91, 20:61].any()
    assert red[29, 17:64].all()
    assert red[27:94, 19].all()
    assert red.sum() == 47 * 67 - 41 * 61


def test_dashes_run_along_the_box_with_gaps() -> None:
    picture = grey()
    dash_boxes(picture, [[20, 30, 60, 400]], RED)  # a box beyond the picture stays inside
    rows, columns = np.nonzero((np.asarray(picture) == RED).all(axis=-1))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (30, 159, 20, 60)
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) <= (
        {(row, column) for row in (30, 159) for column in range(20, 61)}
        | {(row, column) for row in range(30, 160) for column in (20, 60)}
    )
    assert 0.4 < (np.asarray(picture)[30:160, 20] == RED).all(axis=-1).mean() < 0.6


def test_masks_tint_their_pixels_only() -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[:4, :4] = 1
    tinted = np.asarray(blend_mask(grey(16, 16), mask))
    assert (tinted[8:] == 128).all()
    assert (tinted[:, 8:] == 128).all()
    assert (tinted[:8, :8] != 128).all(axis=(0, 1)).any()


def test_outline_is_the_inner_border_of_the_mask() -> None:
    mask = np.zeros((4, 4), np.uint8)
    mask[1:3, 1:4] = 1  # reaches the right edge of the picture
    red = (np.asarray(outline_mask(grey(40, 40), mask, "#FF0000")) == RED).all(axis=-1)
    expected = np.zeros((40, 40), bool)
    expected[10:30, 10:40] = True
    expected[11:29, 11:39] = False
    np.testing.assert_array_equal(red, expected)


def test_pictures_are_scaled_and_joined() -> None:
    scaled, factor = fit_side(Image.new("L", (100, 50)), 20)
    assert scaled.size == (20, 10)
    assert factor == 0.2
    assert side_by_side([grey(10, 20), grey(30, 5)], gap=4).size == (44, 20)


@given(st.text(alphabet="ab ", max_size=60), st.integers(8, 90), st.none() | st.integers(1, 4))
def test_wrapped_lines_fit_and_keep_the_words(text: str, width: int, max_lines: int | None) -> None:
    lines = wrap_text(text, FONT, width, max_lines)
    if max_lines is None:
        assert " ".join(lines).split() == text.split()
        assert all(FONT.getlength(line) <= width or " " not in line for line in lines)
    else:
        assert len(lines) <= max_lines
        assert all(FONT.getlength(line) <= width or line == "..." for line in lines)
