"""Samples of like length into the same batch, without giving up a computed order.

A batch is padded to its longest row, so one mask of 500 tokens among short answers triples the work of the
batch. Within windows of some batches the samples are sorted by length and cut into batches; the batches are
shuffled again. The result is a function of plan, lengths and seed alone.
"""

from __future__ import annotations

import numpy as np


def group_by_length(lengths: np.ndarray, batch_size: int, window: int, seed: int) -> np.ndarray:
    """Order in which to visit the samples of a run.

    Args:
        lengths: Length of each sample in the planned order [n]; any monotone measure will do.
        batch_size: Samples in a global batch.
        window: Batches that are sorted together; the larger, the less padding and the less mixing.
        seed: Of the shuffle of batches.

    Returns:
        A permutation [n] of the planned positions. Samples stay within their window.
    """
    order = []
    span = batch_size * window
    for number, start in enumerate(range(0, len(lengths), span)):
        rows = start + np.argsort(lengths[start : start + span], kind="stable")
        batches = [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
        # The remainder, where there is one, stays last so that no earlier batch is cut.
        whole = [batch for batch in batches if len(batch) == batch_size]
        rest = [batch for batch in batches if len(batch) < batch_size]
        shuffled = np.random.default_rng((seed, number)).permutation(len(whole))
        order += [whole[i] for i in shuffled] + rest
    return np.concatenate(order) if order else np.empty(0, dtype=np.int64)
