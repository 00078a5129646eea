"""Intersection over union of horizontal boxes, under a declared convention.

Published grounding scores are not on one scale, because the same two boxes have different IoUs under
different conventions. A 10 x 10 box and its copy moved by (3, 3):

| convention   | boxes are compared as                       | side of a box | IoU  |
|--------------|---------------------------------------------|---------------|------|
| `pixel`      | pixels, as they are                         | x2 - x1       | .325 |
| `pixel_plus1`| the same                                    | x2 - x1 + 1   | .325 |
| `q100`       | both rounded to 0..100 of the image's sides | x2 - x1       | .325 |
| `q100_plus1` | the same                                    | x2 - x1 + 1   | .360 |

(The row `pixel_plus1` is for boxes of hundreds of pixels, where the one hardly counts.)

`pixel` is the default and compares with the true box as it is. `pixel_plus1` is what LHRS-Bot's repaired
scorer computes, from which the paper's evaluation most likely comes. `q100_plus1` is what the VRSBench
notebook computes (its truth is on the 0..100 grid already); it lifts the scores of small objects.

Shape legend: N boxes; a box is (x1, y1, x2, y2); a size is (width, height) of the image in pixels.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

Convention = Literal["pixel", "pixel_plus1", "q100", "q100_plus1"]
CONVENTIONS: tuple[Convention, ...] = get_args(Convention)


def box_iou(a: ArrayLike, b: ArrayLike, *, plus1: bool = False) -> NDArray[np.float64]:
    """IoU of boxes, broadcast over leading axes: ``box_iou(a[:, None], b[None])`` gives all pairs.

    Args:
        a: Boxes, shape (..., 4).
        b: Boxes, shape (..., 4).
        plus1: Measure sides as last - first + 1, as if corners were indices of whole cells.

    Returns:
        IoU in [0, 1], shape (...); 0 where both boxes have no area.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    extra = 1.0 if plus1 else 0.0
    overlap = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]) + extra
    intersection = np.prod(np.maximum(overlap, 0.0), axis=-1)
    area_a = np.prod(np.maximum(a[..., 2:] - a[..., :2] + extra, 0.0), axis=-1)
    area_b = np.prod(np.maximum(b[..., 2:] - b[..., :2] + extra, 0.0), axis=-1)
    union = area_a + area_b - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def quantise(boxes_px: ArrayLike, image_sizes: ArrayLike, steps: int = 100) -> NDArray[np.float64]:
    """Round pixel boxes to whole units of 1/`steps` of the image's sides.

    Args:
        boxes_px: Shape (N, 4), pixels.
        image_sizes: Shape (N, 2), pixels.
        steps: Units per side.

    Returns:
        Shape (N, 4), whole numbers 0..steps; halves go to the even number, as in `BoxCodec`.
    """
    sides = np.tile(np.asarray(image_sizes, np.float64), 2)
    return np.clip(np.round(np.asarray(boxes_px, np.float64) * (steps / sides)), 0, steps)


def iou_under(
    convention: Convention, answers_px: ArrayLike, truths_px: ArrayLike, image_sizes: ArrayLike
) -> NDArray[np.float64]:
    """IoU of answer i with truth i under a convention.

    Args:
        convention: One of `CONVENTIONS`.
        answers_px: Shape (N, 4), pixels; a row of NaN is a missing answer.
        truths_px: Shape (N, 4), pixels.
        image_sizes: Shape (N, 2), pixels.

    Returns:
        Shape (N,); a missing answer has IoU 0 under every convention.
    """
    answers, truths = np.asarray(answers_px, np.float64), np.asarray(truths_px, np.float64)
    missing = np.isnan(answers[:, 0])
    answers = np.where(missing[:, None], 0.0, answers)
    if convention.startswith("q100"):
        answers, truths = quantise(answers, image_sizes), quantise(truths, image_sizes)
    return np.where(missing, 0.0, box_iou(answers, truths, plus1=convention.endswith("_plus1")))
