"""Masks leave as COCO run lengths, checked against pycocotools, or as PNG."""

from __future__ import annotations

import base64
import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from pycocotools import mask as coco

from rsunivlm.serving.masks import run_lengths, write_mask


def test_run_lengths_by_hand() -> None:
    assert run_lengths(np.array([[True, False], [True, True]])) == {"size": [2, 2], "counts": [0, 2, 1, 1]}


@given(arrays.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_pycocotools_reads_the_run_lengths(selected_HW: np.ndarray) -> None:
    runs = run_lengths(selected_HW)
    np.testing.assert_array_equal(coco.decode(coco.frPyObjects(runs, *runs["size"])), selected_HW)


def test_formats_hold_the_same_mask() -> None:
    mask_HW = np.random.default_rng(0).integers(0, 3, (7, 9))
    labels = ("others", "road", "water")
    runs = write_mask(mask_HW, labels, "rle")["labels"]
    assert list(runs) == ["road", "water"]
    for index, label in enumerate(labels[1:], start=1):
        np.testing.assert_array_equal(coco.decode(coco.frPyObjects(runs[label], 7, 9)), mask_HW == index)
    url = write_mask(mask_HW, labels, "png")["url"]
    picture = Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,"))))
    np.testing.assert_array_equal(np.asarray(picture), mask_HW)
