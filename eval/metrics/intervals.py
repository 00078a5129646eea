"""Bootstrap over images, for any metric that is a function of sums.

Several questions about one image are not independent: a model that misreads the image fails them together.
So whole images are drawn with replacement. Plain resampling of questions would give intervals that are too
narrow.

Every metric of this project is a function of sums of *statistics*: numbers a question contributes (hits and
ones for an accuracy, cells of a confusion matrix for an IoU, matched n-grams and lengths for BLEU). A draw
weighs the sums of its images, and the metric is computed from the weighted sums, as it is from the whole set.
Two runs that share the draws can be compared with the same precision as one.

Shapes: N questions, S statistics, C clusters (images), R draws.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

_CHUNK = 256  # draws made at once; bounds memory at _CHUNK x C


class ClusterBootstrap:
    """The draws of one set of questions, the same whenever they are asked for."""

    def __init__(self, clusters: Sequence[Hashable], *, resamples: int = 2000, seed: int = 0) -> None:
        """Prepare the draws.

        Args:
            clusters: N keys; equal keys belong together (the image).
            resamples: number of draws.
            seed: of the draws.
        """
        codes: dict[Hashable, int] = {}
        self._cluster_N = np.array([codes.setdefault(key, len(codes)) for key in clusters], np.int64)
        self.num_clusters = len(codes)
        self.resamples, self.seed = resamples, seed

    def sums(self, columns_NS: ArrayLike) -> NDArray[np.float64]:
        """Sums of the statistics in every draw, shape (R, S)."""
        columns_NS = np.asarray(columns_NS, np.float64)
        sum_CS = np.zeros((self.num_clusters, columns_NS.shape[1]))
        np.add.at(sum_CS, self._cluster_N, columns_NS)
        return np.concatenate([count_RC @ sum_CS for count_RC in self._counts()])

    def _counts(self) -> Iterator[NDArray[np.float64]]:
        # How often each cluster is drawn is multinomial.
        rng = np.random.default_rng(self.seed)
        share_C = np.full(self.num_clusters, 1.0 / self.num_clusters)
        for start in range(0, self.resamples, _CHUNK):
            size = min(_CHUNK, self.resamples - start)
            yield rng.multinomial(self.num_clusters, share_C, size=size).astype(np.float64)


def percentile_interval(
    values_RK: NDArray[np.float64], level: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper ends, each of shape (K,); draws in which a metric is undefined (NaN) are left out.

    NaN where it is undefined in every draw.
    """
    tail = (1.0 - level) / 2.0
    ends = np.full((2, values_RK.shape[1]), np.nan)
    defined_K = ~np.isnan(values_RK).all(axis=0)
    if defined_K.any():
        ends[:, defined_K] = np.nanquantile(values_RK[:, defined_K], [tail, 1.0 - tail], axis=0)
    return ends[0], ends[1]
