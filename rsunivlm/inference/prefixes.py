"""Keys and values of the beginnings of conversations, kept for the questions that begin alike.

Most of a prompt is its image, and questions about one image share it; a further turn shares all that was said
before. The store keeps the beginnings used last, as many as fit its memory. They belong to one expert: behind
the first layer's feed-forward network another expert's differ.

Shapes: P positions, G key-value heads, K size of a head.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class PrefixStore:
    """Keys and values of beginnings, the most recent ones, within a limit of memory."""

    limit: int
    _kept: OrderedDict[tuple[Hashable, int, tuple[int, ...]], Tensor] = field(default_factory=OrderedDict)
    _bytes: int = 0

    def find(self, images: Hashable, expert: int, ids: tuple[int, ...]) -> Tensor | None:
        """The longest beginning of `ids` that is known, as keys and values [layers, 2, G, P, K].

        At least the last token is left over: its score is what the answer begins with.
        """
        best: tuple[Hashable, int, tuple[int, ...]] | None = None
        for key in self._kept:
            known = key[2]
            fits = key[:2] == (images, expert) and len(known) < len(ids) and ids[: len(known)] == known
            if fits and (best is None or len(known) > len(best[2])):
                best = key
        if best is None:
            return None
        self._kept.move_to_end(best)
        return self._kept[best]

    def clear(self) -> None:
        """Let go of everything."""
        self._kept.clear()
        self._bytes = 0

    def add(self, images: Hashable, expert: int, ids: tuple[int, ...], pairs_l2GPK: Tensor) -> None:
        """Keep a beginning; the oldest ones make room."""
        key = (images, expert, ids)
        if key in self._kept or pairs_l2GPK.nbytes > self.limit:
            return
        self._kept[key] = pairs_l2GPK
        self._bytes += pairs_l2GPK.nbytes
        while self._bytes > self.limit:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
