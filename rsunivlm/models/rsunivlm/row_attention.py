"""Attention of a decoding pass over rows that are at different places.

A pass gives each row of the batch as many new tokens as it has: a whole prompt, one token, a draft of twenty.
They stand one behind the other in a flat row [1, T], so that nothing is padded and the tokens of one expert
are one slice. Here each row's new keys and values go to their places in the cache, and its queries look at
that row alone, up to their own position. A row whose draft was rejected goes on from an earlier position;
what lies behind is overwritten.

On a CPU every row is attended to on its own; on a GPU all rows at once, padded inside this function only. For
a compiled pass, which wants the same sizes again and again, the flat row itself is padded to given sizes;
what pads it stands in the last slot of the cache.

Registered with transformers as attention implementation ``"cached_rows"``. Without `cached_rows` it is the
library's ``"sdpa"``, so that a model set to it still trains and generates.

Shapes: T new tokens of all rows, B rows, Q most new tokens of a row, S slots, C capacity in tokens, H query
heads, G key-value heads, K size of a head, P positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMTextConfig

NAME = "cached_rows"
_CAPACITY_STEP = 256


@dataclass(frozen=True)
class Sizes:
    """What a pass is padded to: tokens of the flat row, rows, most new tokens of a row, positions."""

    tokens: int
    rows: int
    columns: int
    positions: int


@dataclass(frozen=True)
class Span:
    """The new tokens of a row: positions `start` to `start + count` of a slot of the cache."""

    slot: int
    start: int
    count: int


class RowCache:
    """Keys and values of rows, one slot each; grows when a row needs more room than any before it."""

    def __init__(
        self, config: RSUniVLMTextConfig, slots: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        # Without key-value heads of their own, a configuration means as many as there are query heads.
        self._shape = (slots, config.num_key_value_heads or config.num_attention_heads, head_size)
        self._dtype, self._device = dtype, device
        self.slots = slots
        self.capacity = 0
        self.keys_SGCK: list[Tensor] = [self._empty() for _ in range(config.num_hidden_layers)]
        self.values_SGCK: list[Tensor] = [self._empty() for _ in range(config.num_hidden_layers)]

    def reserve(self, tokens: int) -> None:
        """Make room for rows of so many tokens."""
        if tokens <= self.capacity:
            return
        # By half at least, so that a long answer is copied a few times and not every 256 tokens.
        wanted = max(tokens, self.capacity * 3 // 2)
        used, self.capacity = self.capacity, -(-wanted // _CAPACITY_STEP) * _CAPACITY_STEP
        for parts in (self.keys_SGCK, self.values_SGCK):
            for layer, old in enumerate(parts):
                parts[layer] = self._empty()
                parts[layer][:, :, :used] = old

    def read(self, slot: int, tokens: int) -> Tensor:
        """A copy of the first positions of a slot [layers, 2, G, P, K]."""
        pairs = zip(self.keys_SGCK, self.values_SGCK, strict=True)
        return torch.stack([torch.stack([k[slot, :, :tokens], v[slot, :, :tokens]]) for k, v in pairs])

    def write(self, slot: int, pairs_l2GPK: Tensor) -> None:
        """Fill the first positions of a slot."""
        tokens = pairs_l2GPK.shape[3]
        for layer, (key_GPK, value_GPK) in enumerate(pairs_l2GPK):
            self.keys_SGCK[layer][slot, :, :tokens] = key_GPK
            self.values_SGCK[layer][slot, :, :tokens] = value_GPK

    def _empty(self) -> Tensor:
        slots, heads, size = self._shape
        # Zeros: what a masked place holds must be finite.
        return torch.zeros(slots, heads, self.capacity, size, dtype=self._dtype, device=self._device)


class CachedRows:
    """The rows of one pass and the cache they live in."""

    def __init__(
        self,
        cache: RowCache,
        spans: Sequence[Span],
        *,
        padded: bool | None = None,
        sizes: Sizes | None = None,
    ) -> None:
        """Describe a pass.

        Args:
            cache: Has room for all spans.
            spans: Of the rows, in the order in which their tokens stand in the flat row.
            padded: Attend to all rows at once; by default on devices other than the CPU, and with `sizes`.
            sizes: What the pass is padded to; no row may use the last slot then.
        """
        self.cache = cache
        self.spans = tuple(spans)
        device = cache.keys_SGCK[0].device
        self.padded = device.type != "cpu" or sizes is not None if padded is None else padded
        # One of the two is used; neither lazily, which the compiler could not follow.
        self.places = _Places.of(self.spans, device, cache.slots - 1, sizes) if self.padded else None
        self.masks = [] if self.padded else [_mask(span) for span in self.spans]


def _mask(span: Span) -> Tensor | None:
    """Who sees what [count, P], of a row that sees earlier positions with several queries."""
    if span.start == 0 or span.count == 1:
        return None
    return torch.ones(span.count, span.start + span.count, dtype=torch.bool).tril(span.start)


@dataclass(frozen=True)
class _Places:
    """Index tensors of a pass, for the padded way.

    Attributes:
        row: Row of each token [T].
        column: Its column in that row [T].
        slot: Its slot in the cache [T].
        position: Its position in the slot [T].
        slots: Slot of each row [B].
        token: Token at each row and column [B, Q]; any, where there is none.
        mask: Who sees what [B, 1, Q, P].
    """

    row: Tensor
    column: Tensor
    slot: Tensor
    position: Tensor
    slots: Tensor
    token: Tensor
    mask: Tensor

    @classmethod
    def of(cls, spans: Sequence[Span], device: torch.device, spare_slot: int, sizes: Sizes | None) -> _Places:
        if sizes is None:
            most = max(span.count for span in spans)
            longest = max(span.start + span.count for span in spans)
            sizes = Sizes(sum(span.count for span in spans), len(spans), most, longest)
        row: list[int] = []
        column: list[int] = []
        slot: list[int] = []
        position: list[int] = []
        for index, span in enumerate(spans):
            row += [index] * span.count
            column += range(span.count)
            slot += [span.slot] * span.count
            position += range(span.start, span.start + span.count)
        spare_tokens, spare_rows = sizes.tokens - len(row), sizes.rows - len(spans)
        for places, spare in ((row, 0), (column, 0), (slot, spare_slot), (position, 0)):
            places += [spare] * spare_tokens
        first = torch.tensor([0, *(span.count for span in spans[:-1]), *[0] * spare_rows]).cumsum(0)
        start = torch.tensor([span.start for span in spans] + [0] * spare_rows)
        count = torch.tensor([span.count for span in spans] + [1] * spare_rows)
        columns_Q = torch.arange(sizes.columns)
        seen_BQ = start[:, None] + columns_Q
        tensors = (
            torch.tensor(row),
            torch.tensor(column),
            torch.tensor(slot),
            torch.tensor(position),
            torch.tensor([span.slot for span in spans] + [spare_slot] * spare_rows),
            first[:, None] + torch.minimum(columns_Q, count[:, None] - 1),
            (torch.arange(sizes.positions) <= seen_BQ[..., None])[:, None],
        )
        return cls(*(tensor.to(device, non_blocking=True) for tensor in tensors))


def row_attention(
    module: nn.Module,
    query_1HTK: Tensor,
    key_1GTK: Tensor,
    value_1GTK: Tensor,
    attention_mask: Tensor | None,
    *,
    cached_rows: CachedRows | None = None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention of each row to itself and to what it has in the cache.

    Args:
        module: The attention layer; its `layer_idx` says where in the cache.
        query_1HTK: Queries of all rows' new tokens (or of a plain batch).
        key_1GTK: Their keys; they go into the cache.
        value_1GTK: Their values; likewise.
        attention_mask: Mask of a plain batch.
        cached_rows: The rows; None for a plain batch.
        scaling: Factor of the scores.
        **kwargs: For the library's function.

    Returns:
        Attended values [1, T, H, K], and no weights.
    """
    if cached_rows is None:
        return sdpa_attention_forward(
            module, query_1HTK, key_1GTK, value_1GTK, attention_mask, scaling=scaling, **kwargs
        )
    attend = _padded if cached_rows.padded else _row_by_row
    attended_THK = attend(
        int(module.layer_idx),  # type: ignore[arg-type]
        query_1HTK[0],
        key_1GTK[0].to(value_1GTK.dtype),
        value_1GTK[0],
        cached_rows,
        {"scale": scaling, "enable_gqa": query_1HTK.shape[1] != key_1GTK.shape[1]},
    )
    return attended_THK[None], None


def _row_by_row(
    layer: int,
    query_HTK: Tensor,
    key_GTK: Tensor,
    value_GTK: Tensor,
    rows: CachedRows,
    options: dict[str, Any],
) -> Tensor:
    keys_SGCK, values_SGCK = rows.cache.keys_SGCK[layer], rows.cache.values_SGCK[layer]
    attended, first = [], 0
    for span, mask in zip(rows.spans, rows.masks, strict=True):
        last, end = first + span.count, span.start + span.count
        keys_SGCK[span.slot, :, span.start : end] = key_GTK[:, first:last]
        values_SGCK[span.slot, :, span.start : end] = value_GTK[:, first:last]
        attended.append(
            F.scaled_dot_product_attention(
                query_HTK[None, :, first:last],
                keys_SGCK[None, span.slot, :, :end],
                values_SGCK[None, span.slot, :, :end],
                attn_mask=mask,
                is_causal=span.start == 0 and span.count > 1,
                **options,
            )
        )
        first = last
    return torch.cat(attended, dim=2)[0].transpose(0, 1)


def _padded(
    layer: int,
    query_HTK: Tensor,
    key_GTK: Tensor,
    value_GTK: Tensor,
    rows: CachedRows,
    options: dict[str, Any],
) -> Tensor:
    places, cache = rows.places, rows.cache
    assert places is not None  # made for this way
    longest = places.mask.shape[-1]
    for parts, new_GTK in ((cache.keys_SGCK, key_GTK), (cache.values_SGCK, value_GTK)):
        parts[layer][places.slot, :, places.position] = new_GTK.transpose(0, 1)
    keys_BGPK, values_BGPK = (
        parts[layer][:, :, :longest][places.slots] for parts in (cache.keys_SGCK, cache.values_SGCK)
    )
    query_BHQK = query_HTK.transpose(0, 1)[places.token].transpose(1, 2)
    attended_BHQK = F.scaled_dot_product_attention(
        query_BHQK.to(keys_BGPK.dtype), keys_BGPK, values_BGPK, attn_mask=places.mask, **options
    )
    return attended_BHQK[places.row, :, places.column]


AttentionInterface.register(NAME, row_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
