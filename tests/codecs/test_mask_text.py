"""The two dialects as published, and the round trip of every grid with every kind of label."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rsunivlm.codecs import MaskCodec
from rsunivlm.codecs.mask_text import normal_label

LABELS = ("others", "building")
DIALECTS = ("rsunivlm", "text4seg")
ODD_LABELS = (
    "others",
    "low-vegetation",
    "crop/pasture",
    "class1",
    "3",
    "2 white dogs, left of the road",
    "the dog. Or: the cat?",
    "Tree",
    "水域",
    "<p>x</p>",
)


def test_both_dialects_are_written_as_published():
    grid = np.zeros((4, 4), int)
    grid[1, 1:3] = 1
    assert (
        MaskCodec(grid=4).grid_to_text(grid, LABELS)
        == "others*4\nothers*1, building*2, others*1\nothers*4\nothers*4"
    )
    assert MaskCodec(grid=4, dialect="text4seg").grid_to_text(grid, ("others", "white dog")) == (
        "<seg>others *4\n others *1| white dog *2| others *1\n others *4\n others *4\n</seg>"
    )


@st.composite
def _labelled_grids(draw):
    words = st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="*|\n\r"), min_size=1, max_size=12
    )
    usable = words.filter(
        lambda word: (
            word.strip(" ,;") == word.strip() == word
            and normal_label(word)
            and not re.search("</?seg>", word, re.IGNORECASE)
        )
    )
    drawn = draw(
        st.lists(st.one_of(st.sampled_from(ODD_LABELS[1:]), usable), max_size=5, unique_by=normal_label)
    )
    labels = ("others", *(label for label in drawn if normal_label(label) != "others"))
    side = draw(st.integers(1, 12))
    return draw(hnp.arrays(np.int64, (side, side), elements=st.integers(0, len(labels) - 1))), labels


@settings(deadline=None, max_examples=300)
@given(case=_labelled_grids(), written=st.sampled_from(DIALECTS), expected=st.sampled_from(DIALECTS))
def test_every_grid_round_trips_in_both_dialects(case, written, expected):
    grid, labels = case
    text = MaskCodec(grid=len(grid), dialect=written).grid_to_text(grid, labels)
    ids, report = MaskCodec(grid=len(grid), dialect=expected).text_to_grid(text, labels)
    assert (ids == grid).all()
    assert report.valid
    assert report.clean == (written == expected)
    assert report.notes == (() if written == expected else (f"written in the {written} dialect: 1",))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (("building",), "must begin with the background label 'others'"),
        ((), "must begin with"),
        (("others", "a*b"), r"label 'a\*b' holds"),
        (("others", "a|b"), "holds"),
        (("others", "a\nb"), "holds"),
        (("others", "a<seg>"), "holds"),
        (("others", " a"), "label ' a' begins or ends with"),
        (("others", "a,"), "begins or ends with"),
        (("others", "-"), "nothing but punctuation"),
        (("others", "low vegetation", "Low-Vegetation"), "read alike"),
    ],
)
def test_labels_that_a_text_cannot_carry_are_refused(labels, message):
    for use in (
        lambda: MaskCodec(grid=1).grid_to_text(np.zeros((1, 1), int), labels),
        lambda: MaskCodec(grid=1).text_to_grid("others*1", labels),
    ):
        with pytest.raises(ValueError, match=message):
            use()
