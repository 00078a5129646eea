"""A permutation test for two runs on the same questions: how often would chance alone tell them apart so far?

If the runs were equally good, it would make no difference which of them gave which answer. So for every
image a coin decides whether the two runs swap their answers to all its questions; the metrics are computed
anew, and the p value is the share of such swaps in which the difference is at least as large as the real one
(in either direction). Whole images are swapped because questions about one image are not independent.
Swapping answers, rather than flipping signs of per-question differences, keeps the test valid for metrics
that are no means: an IoU over a whole set, BLEU, an F1.

With few images all 2^C swaps are tried and p is exact; else a number of them is drawn, and the real
assignment counts as one of the draws (so p is never 0, and the test keeps its level).

Shapes: N questions, S statistics, C clusters (images), K metrics, R swaps.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

_CHUNK = 256  # swaps made at once; bounds memory at _CHUNK x C
_ROUNDING = 1e-12  # sums in another order differ by this much and mean the same


@dataclass(frozen=True)
class SwapTest:
    """Result of the test.

    Attributes:
        p_values: two-sided, of each metric, shape (K,); NaN where the metric of either run is undefined.
        swaps: how many assignments were tried, the real one included.
        exact: whether these are all there are.
    """

    p_values: NDArray[np.float64]
    swaps: int
    exact: bool


def swap_test(
    first_NS: ArrayLike,
    second_NS: ArrayLike,
    clusters: Sequence[Hashable],
    finish: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    permutations: int = 10_000,
    seed: int = 0,
) -> SwapTest:
    """Test whether two runs differ.

    Args:
        first_NS: statistics of one run's answers.
        second_NS: those of the other's, to the same questions.
        clusters: N keys; equal keys belong together (the image).
        finish: sums [R, S] -> metrics [R, K].
        permutations: assignments to draw; all are tried where there are no more than this.
        seed: of the draws.
    """
    codes: dict[Hashable, int] = {}
    cluster_N = np.array([codes.setdefault(key, len(codes)) for key in clusters], np.int64)
    first, second = np.asarray(first_NS, np.float64), np.asarray(second_NS, np.float64)
    gain_CS = np.zeros((len(codes), first.shape[1]))
    np.add.at(gain_CS, cluster_N, second - first)
    total_S, other_S = first.sum(axis=0), second.sum(axis=0)

    def difference(swapped_RC: NDArray[np.float64]) -> NDArray[np.float64]:
        moved_RS = swapped_RC @ gain_CS
        return finish(total_S + moved_RS) - finish(other_S - moved_RS)

    real_K = difference(np.zeros((1, len(codes))))[0]
    bar_K = np.abs(real_K) - _ROUNDING * np.maximum(1.0, np.abs(real_K))
    exact = 2 ** len(codes) <= permutations
    batches = _every(len(codes)) if exact else _drawn(len(codes), permutations - 1, seed)
    reached_K, tried = (np.zeros(len(real_K)), 0) if exact else (np.ones(len(real_K)), 1)
    for swapped_RC in batches:
        differences_RK = np.abs(difference(swapped_RC))
        # Where a swap leaves a metric undefined it speaks for chance, so as not to claim too much.
        reached_K += ((differences_RK >= bar_K) | np.isnan(differences_RK)).sum(axis=0)
        tried += len(swapped_RC)
    return SwapTest(np.where(np.isnan(real_K), np.nan, reached_K / tried), tried, exact)


def _every(num_clusters: int) -> Iterator[NDArray[np.float64]]:
    """All 2^C assignments, as the bits of the numbers from 0."""
    for start in range(0, 2**num_clusters, _CHUNK):
        number_R1 = np.arange(start, min(start + _CHUNK, 2**num_clusters))[:, None]
        yield (number_R1 >> np.arange(num_clusters) & 1).astype(np.float64)


def _drawn(num_clusters: int, count: int, seed: int) -> Iterator[NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    for start in range(0, count, _CHUNK):
        size = (min(_CHUNK, count - start), num_clusters)
        yield rng.integers(0, 2, size).astype(np.float64)
