"""A grammar over token ids made deterministic: which tokens may come next, and where each of them leads.

A grammar is a small machine: nodes with edges, each edge a run of tokens. Two edges may begin alike (a label
that is the beginning of another, the count 1 and the count 12), so `Automaton` follows all of them at once:
its state is the set of edges, cut down to what is left of each, that fit the tokens written so far. This is
the subset construction, done only for states that are met; what has been worked out is kept while in use.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Encode: TypeAlias = Callable[[str], list[int]]
Tokens: TypeAlias = tuple[int, ...]
Edge: TypeAlias = tuple[Tokens, Hashable]  # without tokens, the next node is reached at once
State: TypeAlias = frozenset[Edge]

DONE = "done"  # the node after the end token: it has no successors
_KEPT_STATES = 1 << 16  # of one automaton; a 24 x 24 mask of two labels has about 6,000


class Grammar(Protocol):
    """A machine whose paths from `start` to `DONE` are the well-formed answers, the end token included.

    Every node but `DONE` must have a successor, or a decoder could be led into a dead end.
    """

    @property
    def start(self) -> Hashable:
        """The node before the first token."""

    def successors(self, node: Any) -> Iterable[Edge]:
        """The edges that leave a node."""

    def tokens(self) -> Iterable[int]:
        """Every token on any edge."""


class _Expansion(NamedTuple):
    allowed: npt.NDArray[np.int64]
    branches: dict[int, list[Edge]]
    following: dict[int, State]  # filled as tokens are taken: few of those allowed ever are


class Automaton:
    """Follows a grammar token by token.

    A state is a plain value, not an object with a past: keep it, compare it, go back to it. Thread-safe.

    Attributes:
        start: the state before the first token.
        vocabulary: [V] sorted token ids, all that the grammar can ever allow.
    """

    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar
        self._expand = lru_cache(maxsize=_KEPT_STATES)(self._expand_state)
        self.start: State = self._reach([((), grammar.start)])
        self.vocabulary = np.array(sorted(set(grammar.tokens())), dtype=np.int64)

    def allowed(self, state: State) -> npt.NDArray[np.int64]:
        """[A] sorted token ids that may follow, the end token among them where the answer may end."""
        return self._expand(state).allowed

    def step(self, state: State, token: int) -> State:
        """The state after one more token.

        Raises:
            KeyError: the token is not allowed here.
        """
        expansion = self._expand(state)
        if token not in expansion.following:
            expansion.following[token] = self._reach(expansion.branches[token])
        return expansion.following[token]

    def forced(self, state: State) -> Tokens:
        """The tokens from here on that leave no choice, up to the end token or the next choice."""
        run = []
        while len(allowed := self.allowed(state)) == 1:
            run.append(int(allowed[0]))
            state = self.step(state, run[-1])
        return tuple(run)

    def done(self, state: State) -> bool:
        """Whether the end token has been written."""
        return not state

    def accepts(self, tokens: Iterable[int]) -> bool:
        """Whether the tokens, the end token included, are one well-formed answer."""
        state = self.start
        for token in tokens:
            if token not in self._expand(state).branches:
                return False
            state = self.step(state, token)
        return self.done(state)

    def _expand_state(self, state: State) -> _Expansion:
        branches: dict[int, list[Edge]] = {}
        for (first, *rest), node in state:
            branches.setdefault(first, []).append((tuple(rest), node))
        allowed = np.array(sorted(branches), dtype=np.int64)
        allowed.flags.writeable = False
        return _Expansion(allowed, branches, {})

    def _reach(self, edges: Iterable[Edge]) -> State:
        """The edges with tokens left; those without are replaced by their next node's."""
        reached, waiting = set(), list(edges)
        while waiting:
            tokens, node = waiting.pop()
            if tokens:
                reached.add((tokens, node))
            elif node != DONE:
                waiting.extend(self._grammar.successors(node))
        return frozenset(reached)


def tokenise(encode: Encode, piece: str, before: str = "", after: str = "") -> Tokens:
    """Tokens of a piece of text between its neighbours; on its own where the tokenizer joins it to them."""
    head, tail, whole = encode(before), encode(after), encode(before + piece + after)
    cut = len(whole) - len(tail)
    if len(head) <= cut and whole[: len(head)] == head and whole[cut:] == tail:
        return tuple(whole[len(head) : cut])
    return tuple(encode(piece))
