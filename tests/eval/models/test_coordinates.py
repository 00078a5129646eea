"""Boxes in every declared space: there and back, at the borders, and what happens beyond them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.models.coordinates import PIXELS_OF_INPUT, SPACES, codec_of

SIZE = (300, 200)


def halved(size):
    return size[0] // 2, size[1] // 2


@given(st.sampled_from(SPACES), st.lists(st.integers(0, 10), min_size=4, max_size=4, unique=True))
def test_there_and_back(space, tenths):
    (left, right), (top, bottom) = sorted(tenths[:2]), sorted(tenths[2:])
    box = np.array([left * 30, top * 20, right * 30, bottom * 20]) * 1.0
    codec, words = codec_of(space, halved)
    text = codec.encode([box], SIZE)
    read, report = codec.decode(text, SIZE)
    assert read == pytest.approx(box[None])
    assert report.clean
    assert words


def test_how_spaces_are_written():
    box = [[30.4, 40, 150, 199.6]]
    written = {space: codec_of(space, halved)[0].encode(box, SIZE) for space in SPACES}
    assert written == {
        "unit100": "[10, 20, 50, 100]",
        "unit1000": "[101, 200, 500, 998]",
        "unit1": "[0.101, 0.200, 0.500, 0.998]",
        "pixels": "[30, 40, 150, 200]",
        "pixels_of_input": "[15, 20, 75, 100]",
    }


def test_pixels_end_at_the_border_of_the_image():
    codec, _ = codec_of("pixels")
    boxes, report = codec.decode("[250, 150, 350, 250], [310, 10, 320, 20], [10, 20, 5, 10]", SIZE)
    assert boxes.tolist() == [[250, 150, 300, 200], [5, 10, 10, 20]]
    assert (report.found, report.repaired, report.dropped) == (3, 2, 1)
    assert report.notes == ("corners swapped: 1", "clamped to the image: 2")
    assert codec.encode([[-5, 10, 305.2, 20]], SIZE) == "[0, 10, 300, 20]"
    assert codec.encode(np.zeros((0, 4)), SIZE) == ""
    assert codec.decode("nothing", SIZE)[0].shape == (0, 4)


def test_spaces_name_themselves():
    names = [str(codec_of(space, halved)[0].to_dict()) for space in SPACES]
    assert len(set(names)) == len(SPACES)
    with pytest.raises(ValueError, match="unknown coordinates 'inches'; known: unit100"):
        codec_of("inches")
    with pytest.raises(ValueError, match="nothing is known here"):
        codec_of(PIXELS_OF_INPUT)
