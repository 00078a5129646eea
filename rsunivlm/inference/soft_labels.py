"""How sure the decoder is of each cell of a mask.

A mask is written as runs, so its doubts lie in the counts: "building*3", nearly "building*4". The probability
of a count says how likely the run goes on past each cell, and that of a label how likely the run is something
else. From these come the shares of the classes in each cell: soft labels, which `MaskCodec.soft_to_mask`
turns into edges between the cells.

Of a count of two digits only the path that was taken has been looked at: what the model gave another first
digit is divided among the counts that begin with it.

Shapes: C classes, g grid.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rsunivlm.codecs.grammar import MaskPieces

Choices = Mapping[int, Mapping[int, float]]  # place in the answer -> probability of each allowed token


class _Run(NamedTuple):
    label: int
    start: int  # column
    cells: int
    goes_on: npt.NDArray[np.float64]  # [g] probability that the run reaches each column, given its start
    labels: npt.NDArray[np.float64]  # [C] probability of each label


def soft_labels(pieces: MaskPieces, tokens: Sequence[int], choices: Choices) -> npt.NDArray[np.float64]:
    """Shares of the classes in each cell.

    Args:
        pieces: What the mask's text is made of.
        tokens: A whole answer under the mask's grammar.
        choices: Probabilities of the allowed tokens wherever there was a choice, adding up to 1.

    Returns:
        [C, g, g], adding up to 1 in each cell.
    """
    classes, grid = len(pieces.first), pieces.grid
    shares = np.zeros((classes, grid, grid))
    at = 0
    for row in range(grid):
        runs = list(_read_row(pieces, tokens, choices, at, row))
        at += sum(
            len(_head(pieces, row, run.start)[run.label]) + len(pieces.counts[run.cells]) for run in runs
        )
        shares[:, row] = _row_shares(runs, classes, grid)
    return shares


def _row_shares(runs: Sequence[_Run], classes: int, grid: int) -> npt.NDArray[np.float64]:
    """[C, g] of one row: what is left by runs that may go on belongs to the run that stands there."""
    shares = np.zeros((classes, grid))
    for place, run in enumerate(runs):
        cells = slice(run.start, run.start + run.cells)
        before = runs[place - 1] if place else None
        still_before = before.goes_on[cells] if before is not None else np.zeros(run.cells)
        reached = (1 - still_before) * run.goes_on[cells]
        shares[:, cells] += run.labels[:, None] * reached
        if before is not None:
            shares[before.label, cells] += still_before
        # If the run has ended early, the next one stands here; behind the last one, any other class.
        ended = (1 - still_before) * (1 - run.goes_on[cells])
        if place + 1 < len(runs):
            shares[runs[place + 1].label, cells] += ended
        else:
            others = np.arange(classes) != run.label
            shares[others, cells] += ended / max(1, others.sum())
    return shares / shares.sum(axis=0)


def _read_row(
    pieces: MaskPieces, tokens: Sequence[int], choices: Choices, at: int, row: int
) -> Iterator[_Run]:
    digits = {token for count in pieces.counts for token in count}
    column = 0
    while column < pieces.grid:
        heads = _head(pieces, row, column)
        label = max(
            (n for n, head in enumerate(heads) if tuple(tokens[at : at + len(head)]) == head),
            key=lambda n: len(heads[n]),
        )
        labels = _label_probabilities(heads, label, choices, at)
        at += len(heads[label])
        end = at
        while end < len(tokens) and tokens[end] in digits:
            end += 1
        spelled = tuple(tokens[at:end])
        count = pieces.counts.index(spelled)
        of_counts = _count_probabilities(pieces, spelled, pieces.grid - column, choices, at)
        goes_on = np.zeros(pieces.grid)
        # P(count > k): the run still stands k cells behind its start.
        goes_on[column:] = 1 - np.cumsum(of_counts)[:-1]
        yield _Run(label, column, count, np.clip(goes_on, 0, 1), labels)
        at, column = end, column + count


def _head(pieces: MaskPieces, row: int, column: int) -> tuple[tuple[int, ...], ...]:
    if column:
        return pieces.between
    return pieces.row if row else pieces.first


def _label_probabilities(
    heads: Sequence[tuple[int, ...]], label: int, choices: Choices, at: int
) -> npt.NDArray[np.float64]:
    """[C]: what the model gave the tokens where other labels part from the chosen one."""
    chances = np.zeros(len(heads))
    mass, together = 1.0, list(range(len(heads)))
    for depth, token in enumerate(heads[label]):
        branches: dict[int, list[int]] = {}
        for n in together:
            if depth < len(heads[n]):
                branches.setdefault(heads[n][depth], []).append(n)
        # The same place may also have offered to end the row or to add a digit; that is the count's affair.
        given = {other: choices.get(at + depth, {}).get(other, float(other == token)) for other in branches}
        total = sum(given.values())
        for other, names in branches.items():
            if other != token:
                chances[names] += mass * given[other] / total / len(names)
        mass *= given[token] / total
        together = branches[token]
    chances[label] += mass
    return chances / chances.sum()


def _count_probabilities(
    pieces: MaskPieces, spelled: tuple[int, ...], left: int, choices: Choices, at: int
) -> npt.NDArray[np.float64]:
    """[left + 1] probability of each count from 0 to what is left of the row."""
    chances = np.zeros(left + 1)
    mass = 1.0
    digits = {token for count in pieces.counts for token in count}
    for depth in range(len(spelled) + 1):
        prefix = spelled[:depth]
        taken = spelled[depth] if depth < len(spelled) else None
        on_the_path = 0.0
        for token, chance in choices.get(at + depth, {taken: 1.0}).items():
            if token is not None and token == taken:
                on_the_path = chance
            elif token in digits:
                longer = [c for c in range(1, left + 1) if pieces.counts[c][: depth + 1] == (*prefix, token)]
                chances[longer] += mass * chance / len(longer)
            else:
                chances[pieces.counts.index(prefix)] += mass * chance
        mass *= on_the_path
    return chances / chances.sum()
