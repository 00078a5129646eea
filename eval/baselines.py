"""Constant-box baselines: what grounding scores without looking at image or question.

A score means little alone: objects in one dataset may be so alike in place and size that one fixed box is
often right. All boxes here are in units of the image's sides (0..1); scaling an axis leaves plain IoU
unchanged, so images of different sizes can be pooled.

Shape legend: N boxes, K candidate boxes, G clusters (images).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from eval.metrics.boxes import box_iou

CENTRE_BOX = (0.25, 0.25, 0.75, 0.75)
_MAX_CANDIDATES = 1000  # more candidates barely move the winner, and cost K x N comparisons
_CHUNK = 64  # candidates compared at once; bounds memory at _CHUNK x N


def most_frequent_box(boxes_N4: NDArray[np.float64], seed: int = 0) -> NDArray[np.float64]:
    """The box that would be right most often: the one with IoU >= 0.5 to the most of the given boxes.

    This is the mode of the boxes under the very rule that acc@0.5 scores by. (Counting equal boxes after
    rounding does not work: few boxes of a real set round to the same four numbers.)

    Args:
        boxes_N4: Boxes to fit, units of the image's sides.
        seed: Chooses the candidates when there are more than 1000 boxes.

    Returns:
        One of the given boxes, shape (4,).
    """
    candidates_K, hit_KN = _agreement(boxes_N4, seed)
    return boxes_N4[candidates_K[hit_KN.sum(axis=1).argmax()]]


def most_frequent_box_elsewhere(
    boxes_N4: NDArray[np.float64], clusters: Sequence[Hashable], seed: int = 0
) -> NDArray[np.float64] | None:
    """For each box, the most frequent box among those of all other clusters.

    The stand-in for benchmarks without a training split: fitted on the test boxes themselves, but never on
    those of the image it is then tried on.

    Args:
        boxes_N4: Boxes, units of the image's sides.
        clusters: N keys; equal keys are the same image.
        seed: Chooses the candidates when there are more than 1000 boxes.

    Returns:
        Shape (N, 4), or None when all boxes lie in one image and there is nothing to fit on.
    """
    _, cluster_N = np.unique(np.array([repr(key) for key in clusters]), return_inverse=True)
    num_clusters = int(cluster_N.max()) + 1
    if num_clusters < 2:
        return None
    candidates_K, hit_KN = _agreement(boxes_N4, seed)
    order_N = np.argsort(cluster_N, kind="stable")
    starts_G = np.searchsorted(cluster_N[order_N], np.arange(num_clusters))
    votes_KG = np.add.reduceat(hit_KN[:, order_N].astype(np.int32), starts_G, axis=1)
    votes_elsewhere_KG = votes_KG.sum(axis=1, keepdims=True) - votes_KG
    votes_elsewhere_KG[
        np.arange(len(candidates_K)), cluster_N[candidates_K]
    ] = -1  # not a box of its own image
    return boxes_N4[candidates_K[votes_elsewhere_KG.argmax(axis=0)]][cluster_N]


def _agreement(boxes_N4: NDArray[np.float64], seed: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Indices of the candidates (K,) and whether candidate k has IoU >= 0.5 with box n (K, N)."""
    candidates_K = np.arange(len(boxes_N4))
    if len(boxes_N4) > _MAX_CANDIDATES:
        rng = np.random.default_rng(seed)
        candidates_K = np.sort(rng.choice(len(boxes_N4), _MAX_CANDIDATES, replace=False))
    hit_KN = np.empty((len(candidates_K), len(boxes_N4)), bool)
    for start in range(0, len(candidates_K), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        hit_KN[chunk] = box_iou(boxes_N4[candidates_K[chunk], None], boxes_N4[None]) >= 0.5
    return candidates_K, hit_KN
