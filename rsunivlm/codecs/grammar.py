"""Grammars of well-formed answers over token ids, so that a decoder cannot write a malformed one.

A language model picks one token at a time. If at every step only those tokens compete that can still lead to
a text the codec reads back without repair, then the answer is well-formed whatever the weights are, and where
one token alone is left, it costs no forward pass: in a mask that is more than half of them.

The token sequence of a text is the tokenizer's own: pieces are tokenised between the neighbours they have in
the text and cut where the tokenizer cuts, which is beside the digits of a count or a coordinate. A tokenizer
that joins digits to a neighbouring mark is served too, with another sequence for the same text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from rsunivlm.codecs.automaton import DONE, Automaton, Edge, Encode, Tokens, tokenise
from rsunivlm.codecs.boxes import BoxCodec
from rsunivlm.codecs.mask_text import DIALECTS, check_labels
from rsunivlm.codecs.masks import MaskCodec

_MOST_NUMBERS = 20_000  # spellings of a coordinate's whole part and of its decimals


@dataclass(frozen=True)
class MaskPieces:
    """The tokens a mask's text is put together from; a text is heads and counts in turn, then `closing`.

    A head is what stands before a count: a separator, the label and the mark before the count.

    Attributes:
        grid: rows and columns.
        first: by label, the head at the start of the text.
        row: by label, the head at the start of a further row.
        between: by label, the head within a row.
        counts: digits of each count from 0 to `grid` (0 is empty: no run has no cells).
        closing: what stands after the last count.
    """

    grid: int
    first: tuple[Tokens, ...]
    row: tuple[Tokens, ...]
    between: tuple[Tokens, ...]
    counts: tuple[Tokens, ...]
    closing: Tokens

    @classmethod
    def of(cls, codec: MaskCodec, labels: Sequence[str], encode: Encode) -> MaskPieces:
        """Tokenise the pieces of `codec`'s dialect.

        Raises:
            ValueError: labels that cannot be told apart in a text, or whose first is not the background.
        """
        check_labels(labels, codec.background)
        marks = DIALECTS[codec.dialect]

        def heads(separator: str, before: str) -> tuple[Tokens, ...]:
            texts = (f"{separator}{label}{marks.before_count}" for label in labels)
            return tuple(tokenise(encode, text, before, "1") for text in texts)

        def digits(count: int) -> Tokens:
            return tokenise(encode, str(count), marks.before_count, marks.between_runs)

        return cls(
            grid=codec.grid,
            first=heads(marks.opening, ""),
            row=heads(marks.between_rows, "1"),
            between=heads(marks.between_runs, "1"),
            counts=((), *(digits(count) for count in range(1, codec.grid + 1))),
            closing=tokenise(encode, marks.closing, "1"),
        )


class _MaskGrammar:
    """Nodes are (row, cells filled, label of the last run, whether its count comes next)."""

    start = (0, 0, -1, False)

    def __init__(self, pieces: MaskPieces, end_token: int) -> None:
        self._pieces, self._end = pieces, end_token

    def tokens(self) -> Iterator[int]:
        parts = self._pieces
        yield from chain(*parts.first, *parts.row, *parts.between, *parts.counts, parts.closing, [self._end])

    def successors(self, node: tuple[int, int, int, bool]) -> Iterator[Edge]:
        row, filled, label, counting = node
        pieces, left = self._pieces, self._pieces.grid - filled
        if counting:
            # With one label there is no second run that could fill the row.
            least = 1 if len(pieces.first) > 1 else left
            for count in range(least, left + 1):
                yield pieces.counts[count], (row, filled + count, label, False)
        elif left:
            heads = pieces.between if filled else pieces.row if row else pieces.first
            for other, tokens in enumerate(heads):
                if other != label:
                    yield tokens, (row, filled, other, True)
        elif row + 1 < pieces.grid:
            yield (), (row + 1, 0, -1, False)
        else:
            yield (*pieces.closing, self._end), DONE


def mask_grammar(codec: MaskCodec, labels: Sequence[str], encode: Encode, end_token: int) -> Automaton:
    """Texts of masks: every row adds up to the grid, neighbouring runs differ, labels are of the set.

    Args:
        codec: gives the grid and the dialect.
        labels: class names by id, the background first, as for `MaskCodec.encode`.
        encode: text to token ids, without control tokens.
        end_token: id of the token that ends an answer.

    Raises:
        ValueError: labels that cannot be told apart in a text, or whose first is not the background.
    """
    return Automaton(_MaskGrammar(MaskPieces.of(codec, labels, encode), end_token))


class _NumberTrie:
    """Numbers by their tokens; each point knows the least and the greatest number that go through it."""

    def __init__(self, spellings: Iterable[tuple[Tokens, int]]) -> None:
        self.children: list[dict[int, int]] = [{}]
        self.least, self.greatest = [0], [0]
        self.number: list[int | None] = [None]  # the number that may end here
        for tokens, number in spellings:  # in rising order
            self.greatest[0] = number
            at = 0
            for token in tokens:
                if token not in self.children[at]:
                    self.children[at][token] = len(self.children)
                    self.children.append({})
                    self.least.append(number)
                    self.greatest.append(number)
                    self.number.append(None)
                at = self.children[at][token]
                self.greatest[at] = number
            self.number[at] = number

    def tokens(self) -> Iterator[int]:
        return chain.from_iterable(self.children)


class _Coordinate(NamedTuple):
    """A node within a box: on the way through the digits of one coordinate.

    Attributes:
        box: how many boxes stand before this one.
        which: 0 to 3 for x1, y1, x2, y2.
        earlier: what later coordinates must exceed: (), (x1,), (x1, y1), (y1,) in the smallest unit.
        whole: the number before the point once it is complete, else None.
        at: point in the trie of the whole parts or of the decimals.
    """

    box: int
    which: int
    earlier: tuple[int, ...] = ()
    whole: int | None = None
    at: int = 0


class _BoxGrammar:
    """Nodes are `_Coordinate`; values are counted in the smallest unit that the codec writes."""

    start = _Coordinate(0, 0)

    def __init__(self, codec: BoxCodec, encode: Encode, end_token: int, max_boxes: int) -> None:
        self._unit, self._most_boxes = 10**codec.decimals, max_boxes
        self._greatest = codec.range * self._unit
        after = "." if codec.decimals else "]"

        def trie(before: str, lead: str) -> _NumberTrie:
            texts = ((f"{lead}{number}", number) for number in range(codec.range + 1))
            return _NumberTrie((tokenise(encode, text, before, after), number) for text, number in texts)

        def decimals() -> Iterator[tuple[Tokens, int]]:
            for number in range(self._unit):
                yield tokenise(encode, f".{number:0{codec.decimals}d}", "1", "]"), number

        # By what stands before the number: the first box, a further box, a further coordinate.
        self._first, self._box, self._next = trie("", "["), trie("1", "], ["), trie("1", ", ")
        self._decimals = _NumberTrie(decimals()) if codec.decimals else _NumberTrie([((), 0)])
        self._closing = (*tokenise(encode, "]", "1"), end_token)

    def tokens(self) -> Iterator[int]:
        tries = (self._first, self._box, self._next, self._decimals)
        return chain(*(trie.tokens() for trie in tries), self._closing)

    def successors(self, node: _Coordinate | int) -> Iterator[Edge]:
        if isinstance(node, int):  # that many boxes stand complete but for the bracket
            yield self._closing, DONE
            if node < self._most_boxes:
                yield (), _Coordinate(node, 0)
            return
        trie = self._trie(node)
        low, high = self._bounds(node)
        for token, child in trie.children[node.at].items():
            if trie.greatest[child] >= low and trie.least[child] <= high:
                yield (token,), node._replace(at=child)
        number = trie.number[node.at]
        if number is not None and low <= number <= high:
            yield (), self._after(node, number)

    def _trie(self, node: _Coordinate) -> _NumberTrie:
        if node.whole is not None:
            return self._decimals
        if node.which:
            return self._next
        return self._box if node.box else self._first

    def _bounds(self, node: _Coordinate) -> tuple[int, int]:
        """Least and greatest number that this part of the coordinate may be.

        Only one of the two ever binds (x1 and y1 leave room above, x2 and y2 must exceed), so a point of the
        trie with a number on the right side of each bound has one that is right for both.
        """
        low, high = (node.earlier[0] + 1, self._greatest) if node.which > 1 else (0, self._greatest - 1)
        if node.whole is None:
            return low // self._unit, high // self._unit
        return low - node.whole * self._unit, high - node.whole * self._unit

    def _after(self, node: _Coordinate, number: int) -> _Coordinate | int:
        """The node after the whole part or the decimals of a coordinate."""
        if node.whole is None:
            return node._replace(whole=number, at=0)
        value = node.whole * self._unit + number
        if node.which == 3:
            return node.box + 1
        earlier = node.earlier[1:] if node.which == 2 else (*node.earlier, value)
        return _Coordinate(node.box, node.which + 1, earlier)


def box_grammar(codec: BoxCodec, encode: Encode, end_token: int, max_boxes: int) -> Automaton:
    """Texts of 1 to `max_boxes` boxes with x1 < x2 and y1 < y2, within the codec's range.

    Args:
        codec: gives the range and the decimals.
        encode: text to token ids, without control tokens.
        end_token: id of the token that ends an answer.
        max_boxes: the most boxes of one answer.

    Raises:
        ValueError: `max_boxes` is less than 1, or the codec's scale is too fine to be spelled out.
    """
    if max_boxes < 1:
        raise ValueError(f"max_boxes must be at least 1, got {max_boxes}")
    if codec.range + 10**codec.decimals > _MOST_NUMBERS:
        raise ValueError(
            f"a range of {codec.range} with {codec.decimals} decimals is too fine for constrained decoding: "
            "take a range up to 10000 with up to 3 decimals, or decode without constraints"
        )
    return Automaton(_BoxGrammar(codec, encode, end_token, max_boxes))


class _ChoiceGrammar:
    start = "choice"

    def __init__(self, choices: Sequence[str], encode: Encode, end_token: int) -> None:
        self._edges: list[Edge] = [((*encode(choice), end_token), DONE) for choice in choices]

    def tokens(self) -> Iterator[int]:
        return chain.from_iterable(tokens for tokens, _ in self._edges)

    def successors(self, node: str) -> list[Edge]:
        return self._edges


def choice_grammar(choices: Sequence[str], encode: Encode, end_token: int) -> Automaton:
    """A closed list of answers (scene classes, yes and no), each exactly as given.

    Raises:
        ValueError: no choices, or an empty one.
    """
    if not choices or not all(choice.strip() for choice in choices):
        raise ValueError(f"choices must be a list of answers that are not empty, got {list(choices)!r}")
    return Automaton(_ChoiceGrammar(choices, encode, end_token))
