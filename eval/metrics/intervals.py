"""Bootstrap intervals for means, clustered by image.

Several questions about one image are not independent: a model that misreads the image fails them together.
So whole images are drawn with replacement, and every statistic is recomputed as (sum of scores) / (number
of questions) of the drawn images. Plain resampling of questions would give intervals that are too narrow.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

_CHUNK = 256  # resamples drawn at once; bounds memory at _CHUNK x clusters


def cluster_bootstrap(
    scores_NK: ArrayLike,
    clusters: Sequence[Hashable],
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Percentile intervals for the means of K score columns, resampling clusters.

    All columns share the draws, so that the interval of a difference is that of the column of differences.

    Args:
        scores_NK: Shape (N, K), one row per question.
        clusters: N keys; equal keys belong together (the image).
        resamples: Number of bootstrap draws.
        level: Coverage of the interval.
        seed: Seed of the draws.

    Returns:
        Lower and upper ends, each of shape (K,). NaN when there are fewer than two clusters, because one
        cluster says nothing about the spread between clusters.
    """
    scores_NK = np.asarray(scores_NK, np.float64)
    codes: dict[Hashable, int] = {}
    cluster_N = np.array([codes.setdefault(key, len(codes)) for key in clusters])
    num_clusters, num_columns = len(codes), scores_NK.shape[1]
    if num_clusters < 2:
        return np.full(num_columns, np.nan), np.full(num_columns, np.nan)
    size_C = np.bincount(cluster_N).astype(np.float64)
    sum_CK = np.zeros((num_clusters, num_columns))
    np.add.at(sum_CK, cluster_N, scores_NK)

    rng = np.random.default_rng(seed)
    share_C = np.full(num_clusters, 1.0 / num_clusters)
    means = []
    for start in range(0, resamples, _CHUNK):
        # How often each cluster is drawn is multinomial; the counts weigh the cluster sums.
        count_RC = rng.multinomial(num_clusters, share_C, size=min(_CHUNK, resamples - start)).astype(
            np.float64
        )
        means.append((count_RC @ sum_CK) / (count_RC @ size_C)[:, None])
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(np.concatenate(means), [tail, 1.0 - tail], axis=0)
    return low, high
