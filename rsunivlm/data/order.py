"""Samples that save work side by side into the same batch, without giving up a computed order.

A padded batch is as long as its longest row, so one mask of 500 tokens among short answers triples its work.
`group_by_length` sorts the samples by length within windows of some batches, cuts them into batches and
shuffles the batches again.

A packed row computes what samples about one image begin with once (see `rsunivlm.data.collation`), but they
have to meet in it. `group_by_image` brings them together and shuffles these groups.

Either result is a function of plan, measures and seed alone.
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


def group_by_image(
    shown: np.ndarray,
    lengths: np.ndarray,
    prefixes: np.ndarray,
    *,
    most: int,
    capacity: int,
    seed: int,
) -> list[np.ndarray]:
    """Bring samples about the same images together.

    The samples of a group are drawn at random from those about its images: they are the next ones in the
    planned order, which is shuffled. The groups are shuffled anew, so that large ones come at any time.

    Args:
        shown: What each sample is about [n, ...]: rows that are equal may share a group.
        lengths: Tokens of each sample in the planned order [n].
        prefixes: Tokens at the beginning of each sample that a group computes once [n].
        most: Samples in a group, at most.
        capacity: Tokens that a group computes, at most.
        seed: Of the shuffle.

    Returns:
        The groups in their new order, each the planned positions of its samples, ascending. Every position
        occurs once.
    """
    _, about = np.unique(shown, axis=0, return_inverse=True)
    groups: list[list[int]] = []
    open_groups: dict[int, tuple[int, int]] = {}  # what it is about -> group, tokens it still takes
    branches = (lengths - prefixes).tolist()
    for row, key in enumerate(about.ravel().tolist()):
        group, room = open_groups.get(key, (-1, 0))
        if branches[row] > room or len(groups[group]) == most:
            group, room = len(groups), capacity - int(prefixes[row])
            groups.append([])
        groups[group].append(row)
        open_groups[key] = (group, room - branches[row])
    shuffled = np.random.default_rng((seed, most)).permutation(len(groups))
    return [np.array(groups[index]) for index in shuffled]
