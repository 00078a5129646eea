"""Packs: several samples in one row, planned before training from their true lengths.

A batch of padded rows spends most of its work on padding when answers of five tokens stand beside masks of
five hundred. A pack puts samples one behind the other until a row is full. Attention never crosses from one
sample to the next, positions restart, and the loss is the sum over answer tokens either way: a pack trains
what its samples would have trained alone.

What goes into a pack may be a group of samples about one image, which the row holds once; the group then
counts as long as what it computes (see `rsunivlm.data.order`).

The plan is best-fit decreasing (Johnson, Demers, Ullman, Garey and Graham, 1974) within windows of the run's
order, so that a pack holds neighbours of that order and the run as a whole keeps it; the packs of a window
are then shuffled. It is a function of lengths and seed alone, the same in every process and after every
restart.
"""

from __future__ import annotations

from bisect import bisect_left, insort

import numpy as np

# Samples that are packed together: enough for packs more than 99 % full, few enough to keep the order mixed.
WINDOW = 2048


def plan_packs(
    lengths: np.ndarray,
    images: np.ndarray,
    capacity: int,
    *,
    max_images: int = 0,
    window: int = WINDOW,
    seed: int = 0,
) -> list[np.ndarray]:
    """Put the samples (or groups) of a run into packs.

    Args:
        lengths: Tokens that each sample takes in the run's order [n]; none above `capacity`.
        images: Images of each sample [n].
        capacity: Most tokens of a pack.
        max_images: Most images of a pack; 0 sets no limit. Bounds the memory of the vision tower.
        window: Samples that are packed together.
        seed: Of the shuffle of packs.

    Returns:
        The packs in the order of training, each the positions of its samples in ascending order. Every
        position occurs once.
    """
    packs: list[np.ndarray] = []
    for number, start in enumerate(range(0, len(lengths), window)):
        rows = np.arange(start, min(start + window, len(lengths)))
        made = _best_fit(rows, lengths, images, capacity, max_images or len(lengths) * 2)
        shuffled = np.random.default_rng((seed, number)).permutation(len(made))
        packs += [np.array(sorted(made[index])) for index in shuffled]
    return packs


def _best_fit(
    rows: np.ndarray, lengths: np.ndarray, images: np.ndarray, capacity: int, max_images: int
) -> list[list[int]]:
    """Each sample, longest first, into the fullest pack that still takes it."""
    packs: list[list[int]] = []
    pictures: list[int] = []
    open_packs: list[tuple[int, int]] = []  # (room left, pack), sorted
    for row in sorted(rows.tolist(), key=lambda row: (-int(lengths[row]), row)):
        need, shown = int(lengths[row]), int(images[row])
        place = bisect_left(open_packs, (need, -1))
        while place < len(open_packs) and pictures[open_packs[place][1]] + shown > max_images:
            place += 1
        if place < len(open_packs):
            room, pack = open_packs.pop(place)
        else:
            room, pack = capacity, len(packs)
            packs.append([])
            pictures.append(0)
        packs[pack].append(row)
        pictures[pack] += shown
        insort(open_packs, (room - need, pack))
    return packs
