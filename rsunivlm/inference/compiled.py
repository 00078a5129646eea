"""Compiled decoding passes: on a GPU, starting kernels one by one takes longer than a small pass computes.

`torch.compile` fuses them, and on a GPU records the whole pass as one CUDA graph. A graph is of one set of
sizes, so passes are padded to few: powers of two of tokens and rows, steps of 256 positions; and each pass is
of one expert, because its slices of the tokens are sizes, too. Prompts are computed as they are: they are
long, and no two have the same sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch

from rsunivlm.models.rsunivlm.row_attention import RowCache, Sizes, Span

if TYPE_CHECKING:
    from rsunivlm.inference.scheduler import Feed
    from rsunivlm.models.rsunivlm.language_model import RSUniVLMTextModel

MOST_TOKENS = 64  # of a row in a compiled pass; a longer one is part of a prompt
POSITION_STEP = 256
FEWEST = 2  # the compiler makes a program of its own for sizes of 1
OLDEST = "2.15"
PROGRAMS = 64  # that the compiler may make before it gives up; it makes a few for each expert


def compile_language_model(model: RSUniVLMTextModel) -> Callable[..., Any]:
    """The language model's pass, compiled when it is first called; the model itself stays as it is.

    Args:
        model: In memory, on its device.

    Returns:
        A function with the arguments of the model.

    Raises:
        ValueError: torch is older than what this was tried with; 2.9 compiles to wrong answers.
    """
    if torch.__version__ < OLDEST:
        raise ValueError(f"compiled passes need torch {OLDEST} or newer, this is {torch.__version__}")
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, PROGRAMS)
    mode = "reduce-overhead" if model.device.type == "cuda" else None
    return torch.compile(model, fullgraph=True, dynamic=True, mode=mode)


def keep_addresses(cache: RowCache) -> None:
    """Let recorded graphs write into the cache itself instead of into a copy."""
    for tensor in (*cache.keys_SGCK, *cache.values_SGCK):
        torch._dynamo.mark_static_address(tensor)


def is_decoding(feeds: Sequence[Feed]) -> bool:
    """Whether a pass is small enough to be compiled."""
    return all(len(feed.tokens) <= MOST_TOKENS and not feed.images for feed in feeds)


def by_expert(
    feeds: Sequence[Feed], places: Sequence[tuple[int, int]]
) -> Iterator[tuple[Sequence[Feed], list[tuple[int, int]]]]:
    """The passes of the experts, one after the other; arguments as of `ModelRunner.run`, which are sorted."""
    first = 0
    for _, group in groupby(feeds, key=lambda feed: feed.expert):
        part = list(group)
        end = first + len(part)
        yield part, [(feed - first, token) for feed, token in places if first <= feed < end]
        first = end


def padded_sizes(spans: Sequence[Span]) -> Sizes:
    """The sizes that a pass of these rows is padded to."""
    positions = max(span.start + span.count for span in spans)
    return Sizes(
        tokens=power_of_two(sum(span.count for span in spans)),
        rows=power_of_two(len(spans)),
        columns=power_of_two(max(span.count for span in spans)),
        positions=-(-positions // POSITION_STEP) * POSITION_STEP,
    )


def power_of_two(size: int) -> int:
    """The next power of two, at least 2."""
    return max(FEWEST, 1 << (size - 1).bit_length())
