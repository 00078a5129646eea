"""Guesses the next tokens of a mask from the row above: most rows of a mask resemble the one before.

A language model checks many guessed tokens in one pass, for little more than the price of one. The guess here
costs no model at all: the current row goes on as the row above does from the same column on, and the rows
after it are copies of it. A guess need not be right: a decoder keeps the tokens its model agrees with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, chain

from rsunivlm.codecs.automaton import Encode, Tokens
from rsunivlm.codecs.grammar import MaskPieces
from rsunivlm.codecs.masks import MaskCodec

_Run = tuple[int, int]  # label, cells


class RowDraft:
    """Drafts how a mask's text goes on; what it drafts is always well-formed."""

    def __init__(self, codec: MaskCodec, labels: Sequence[str], encode: Encode, *, rows: int = 2) -> None:
        """Prepare drafts of the current row and of up to `rows` further ones.

        Args:
            codec: gives the grid and the dialect.
            labels: class names by id, the background first.
            encode: text to token ids, without control tokens.
            rows: copies of the current row to draft after it.

        Raises:
            ValueError: labels that cannot be told apart in a text, or whose first is not the background.
        """
        self._pieces = pieces = MaskPieces.of(codec, labels, encode)
        self._rows = rows
        self._row_starts = {head[0] for head in pieces.row}
        self._digits = set(chain.from_iterable(pieces.counts))
        self._count_of = {digits: count for count, digits in enumerate(pieces.counts)}

    def __call__(self, tokens: Sequence[int]) -> Tokens:
        """The tokens that follow if the mask goes on as it did; none where there is nothing to go by.

        Args:
            tokens: the answer so far, the beginning of a text that the mask's grammar accepts. Above the
                first row everything counts as background.
        """
        pieces = self._pieces
        # No token begins with a line break but these, and that of a closing mark after the last row.
        starts = [0, *(place for place, token in enumerate(tokens) if token in self._row_starts)]
        row = len(starts) - 1
        if row == pieces.grid:
            return ()
        above = [(0, pieces.grid)]
        if row:
            spelled, _ = self._read(tokens[starts[-2] : starts[-1]], pieces.row if row > 1 else pieces.first)
            above = [(label, self._count_of[digits]) for label, digits in spelled]
        heads = pieces.row if row else pieces.first
        written = tokens[starts[-1] :]
        runs = self._continue(*self._read(written, heads), above, heads)
        if sum(cells for _, cells in runs) < pieces.grid:
            return ()
        copies = min(self._rows, pieces.grid - 1 - row)
        return self._spell(runs, heads)[len(written) :] + self._spell(runs, pieces.row) * copies

    def _read(
        self, tokens: Sequence[int], heads: Sequence[Tokens]
    ) -> tuple[list[tuple[int, Tokens]], Tokens]:
        """Label and digits of each run of a row, and the tokens of a head that is not complete."""
        runs: list[tuple[int, Tokens]] = []
        at = 0
        while at < len(tokens):
            fitting = (n for n, head in enumerate(heads) if tuple(tokens[at : at + len(head)]) == head)
            label = next(fitting, None)
            if label is None:
                break
            start = at = at + len(heads[label])
            while at < len(tokens) and tokens[at] in self._digits:
                at += 1
            runs.append((label, tuple(tokens[start:at])))
            heads = self._pieces.between
        return runs, tuple(tokens[at:])

    def _continue(
        self, spelled: list[tuple[int, Tokens]], head: Tokens, above: list[_Run], heads: Sequence[Tokens]
    ) -> list[_Run]:
        """The runs of the current row to its end; they stop short where the row above gives no hint."""
        heads = self._pieces.between if spelled else heads
        # The last count may lack digits, unless a head follows it.
        opened = spelled.pop() if spelled and not head else None
        runs = [(label, self._count_of[digits]) for label, digits in spelled]
        if opened is not None:
            label, digits = opened
            counts = [cells for guess, cells in self._guesses(runs, above) if guess == label]
            fitting = [cells for cells in counts if self._pieces.counts[cells][: len(digits)] == digits]
            if not fitting and not digits:
                return runs
            runs.append((label, fitting[0] if fitting else self._count_of[digits]))
        while sum(cells for _, cells in runs) < self._pieces.grid:
            guesses = self._guesses(runs, above)
            guess = next((guess for guess in guesses if heads[guess[0]][: len(head)] == head), None)
            if guess is None:
                break
            runs.append(guess)
            head = ()
        return runs

    def _guesses(self, runs: Sequence[_Run], above: Sequence[_Run]) -> Iterator[_Run]:
        """Runs that may come next, the likeliest first."""
        last = runs[-1][0] if runs else -1
        filled = sum(cells for _, cells in runs)
        ends = list(accumulate(cells for _, cells in above))
        over = next(place for place, end in enumerate(ends) if end > filled)
        # The run above this column; the one after it; and, for a thin slanting thing that has moved by more
        # than its width, the one at this place in the row.
        for place in (over, over + 1, len(runs)):
            if place < len(above) and (label := above[place][0]) != last:
                cells = ends[place] - filled
                yield label, cells if cells > 0 else min(above[place][1], self._pieces.grid - filled)

    def _spell(self, runs: Sequence[_Run], heads: Sequence[Tokens]) -> Tokens:
        """Tokens of a row, its first head from `heads`."""
        tokens: list[int] = []
        for label, cells in runs:
            tokens += heads[label] + self._pieces.counts[cells]
            heads = self._pieces.between
        return tuple(tokens)
