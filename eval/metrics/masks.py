"""Masks as run lengths, and the four counts that every mask score is made of.

A mask is kept as COCO run lengths, ``{"size": [height, width], "counts": "..."}``: a few kilobytes of JSON
for a megapixel. Sets of pixels are intersected and joined on the runs themselves, so the counts of a question
cost as much as its outlines are long, whatever the size of the image.

Counts are true positives, false positives, false negatives and true negatives, in this order. They may be
added up over questions (a dataset-level confusion matrix) and are turned into rates only then. A rate whose
denominator is zero is NaN: whoever averages has to say what becomes of it.

Two things are in an answer besides its mask. *Unread* pixels have no readable answer and count as wrong
whatever the truth is there; *hidden* pixels of the mask are painted over by another class where the answers
for several classes are composed into one label map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Rle: TypeAlias = Mapping[str, Any]
Counts: TypeAlias = tuple[int, int, int, int]


def require_pycocotools() -> ModuleType:
    """The package that holds the run-length code.

    Raises:
        ValueError: It is not installed.
    """
    try:
        from pycocotools import mask
    except ImportError as error:
        raise ValueError("scoring masks needs pycocotools: pip install 'rsunivlm[eval]'") from error
    return mask


def encode(mask_HW: NDArray[Any]) -> dict[str, Any]:
    """Write a mask (true or not zero: inside), shape (height, width), as run lengths."""
    rle = require_pycocotools().encode(np.asfortranarray(mask_HW != 0, np.uint8))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")}


def decode(rle: Rle) -> NDArray[np.bool_]:
    """Read run lengths back into a mask, shape (height, width)."""
    return require_pycocotools().decode(rle).astype(bool)


@lru_cache(maxsize=64)
def _constant(height: int, width: int, inside: bool) -> tuple[tuple[int, int], str]:
    runs = [0, height * width] if inside else [height * width]
    rle = require_pycocotools().frPyObjects({"size": [height, width], "counts": runs}, height, width)
    return (height, width), rle["counts"].decode("ascii")


def constant(size: Sequence[int], inside: bool) -> dict[str, Any]:
    """The mask of a size (height, width) that holds every pixel, or none."""
    shape, counts = _constant(size[0], size[1], inside)
    return {"size": list(shape), "counts": counts}


def union(masks: Sequence[Rle]) -> Rle:
    """Pixels of any of at least one mask."""
    return require_pycocotools().merge(list(masks), intersect=False)


def intersection(masks: Sequence[Rle]) -> Rle:
    """Pixels of all of at least one mask."""
    return require_pycocotools().merge(list(masks), intersect=True)


def area(mask: Rle) -> int:
    """Number of pixels inside."""
    return int(require_pycocotools().area(mask))


def confusion(
    answer: Rle, truth: Rle, valid: Rle | None = None, unread: Rle | None = None, hidden: Rle | None = None
) -> Counts:
    """Counts of one answer.

    Args:
        answer: Pixels said to be of the class.
        truth: Pixels of the class.
        valid: Pixels that are annotated; None when all are. Others do not count.
        unread: Pixels without a readable answer, none of them in `answer`; all of them count as wrong.
        hidden: Pixels of the answer that do not count as said, because another class is painted over them.

    Returns:
        True positives, false positives, false negatives, true negatives.

    Raises:
        ValueError: the masks are not of one size.
    """
    sizes = {tuple(mask["size"]) for mask in (answer, truth, valid, unread, hidden) if mask is not None}
    if len(sizes) > 1:
        raise ValueError(f"masks of different sizes cannot be compared (height, width): {sorted(sizes)}")
    pixels = truth["size"][0] * truth["size"][1]
    if valid is not None:
        answer, truth = intersection((answer, valid)), intersection((truth, valid))
        pixels = area(valid)
    said, right = area(answer), area(intersection((answer, truth)))
    if hidden is not None:
        said -= area(intersection((answer, hidden)))
        right -= area(intersection((answer, hidden, truth)))
    missed, invented = area(truth) - right, said - right
    if unread is not None:
        unread = unread if valid is None else intersection((unread, valid))
        invented += area(unread) - area(intersection((unread, truth)))
    return right, invented, missed, pixels - right - invented - missed


def iou(counts: ArrayLike) -> NDArray[np.float64]:
    """Intersection over union of counts (..., 4); NaN where neither answer nor truth has a pixel."""
    tp, fp, fn, _ = _split(counts)
    return _ratio(tp, tp + fp + fn)


def f1(counts: ArrayLike) -> NDArray[np.float64]:
    """Harmonic mean of precision and recall (Dice) of counts (..., 4); NaN where both masks are empty."""
    tp, fp, fn, _ = _split(counts)
    return _ratio(2 * tp, 2 * tp + fp + fn)


def precision(counts: ArrayLike) -> NDArray[np.float64]:
    """Share of the answered pixels that are right, of counts (..., 4); NaN where nothing is answered."""
    tp, fp, _, _ = _split(counts)
    return _ratio(tp, tp + fp)


def recall(counts: ArrayLike) -> NDArray[np.float64]:
    """Share of the true pixels that are found, of counts (..., 4); NaN where there are none."""
    tp, _, fn, _ = _split(counts)
    return _ratio(tp, tp + fn)


def accuracy(counts: ArrayLike) -> NDArray[np.float64]:
    """Share of all annotated pixels that are right ("OA"), of counts (..., 4)."""
    tp, fp, fn, tn = _split(counts)
    return _ratio(tp + tn, tp + fp + fn + tn)


def complement(counts: ArrayLike) -> NDArray[np.float64]:
    """Counts (..., 4) of the other class: of everything outside the mask."""
    tp, fp, fn, tn = _split(counts)
    return np.stack([tn, fn, fp, tp], axis=-1)


def _split(counts: ArrayLike) -> tuple[NDArray[np.float64], ...]:
    return tuple(np.moveaxis(np.asarray(counts, np.float64), -1, 0))


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole != 0)
