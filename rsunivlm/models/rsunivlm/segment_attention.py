"""Attention within the segments of a packed row.

A packed row holds several samples, one behind the other. Each may look back at itself only. With a mask that
would cost the square of the row's length; here every segment is attended to on its own: by torch's
variable-length flash attention where the device has it, else by one scaled-dot-product call per segment.

Samples about the same image begin with the same tokens. What causal attention makes of these does not depend
on what follows, so a row may hold them once, as a segment of their own, and each sample's rest as a *branch*:
a segment that continues that prefix. A branch attends to its prefix and to itself.

Registered with transformers as attention implementation ``"segments"``. Without `segment_lengths` it is the
library's ``"sdpa"``, so that a model set to it still generates.

Shapes: B batch (1 when packed), H query heads, G key-value heads, L tokens of the row, K size of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "segments"


def segment_attention(
    module: nn.Module,
    query_BHLK: Tensor,
    key_BGLK: Tensor,
    value_BGLK: Tensor,
    attention_mask: Tensor | None,
    *,
    segment_lengths: Sequence[int] | None = None,
    segment_prefixes: Sequence[int] | None = None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention inside each segment and to the segment that it continues.

    Args:
        module: The attention layer.
        query_BHLK: Queries.
        key_BGLK: Keys.
        value_BGLK: Values.
        attention_mask: Mask of a batch that is not packed.
        segment_lengths: Tokens of each segment of the row, summing to L; None for a batch that is not packed.
        segment_prefixes: For each segment the index of the one that it continues, -1 for none; None where no
            segment continues another. The one continued stands before it and continues none itself.
        scaling: Factor of the scores.
        **kwargs: For the library's function.

    Returns:
        Attended values [B, L, H, K], and no weights.
    """
    if segment_lengths is None:
        return sdpa_attention_forward(
            module, query_BHLK, key_BGLK, value_BGLK, attention_mask, scaling=scaling, **kwargs
        )
    lengths = tuple(segment_lengths)
    prefixes = tuple(segment_prefixes) if segment_prefixes is not None else (-1,) * len(lengths)
    # Under autocast the rotary embedding leaves queries and keys in float32; the kernels want one type.
    query_BHLK, key_BGLK = query_BHLK.to(value_BGLK.dtype), key_BGLK.to(value_BGLK.dtype)
    if value_BGLK.is_cuda and value_BGLK.dtype != torch.float32 and _varlen() is not None:
        return _flash(query_BHLK, key_BGLK, value_BGLK, lengths, prefixes, scaling), None
    return _one_by_one(query_BHLK, key_BGLK, value_BGLK, lengths, prefixes, scaling), None


def _one_by_one(
    query_1HLK: Tensor,
    key_1GLK: Tensor,
    value_1GLK: Tensor,
    lengths: tuple[int, ...],
    prefixes: tuple[int, ...],
    scaling: float | None,
) -> Tensor:
    # One call per branch, not one per prefix with a mask between its branches: among five tokens of an
    # answer or five hundred of a mask, the scores that such a mask throws away cost more than calls.
    options: dict[str, Any] = {"scale": scaling, "enable_gqa": query_1HLK.shape[1] != key_1GLK.shape[1]}
    queries, keys, values = (part.split(lengths, dim=2) for part in (query_1HLK, key_1GLK, value_1GLK))
    attended = []
    for query, key, value, prefix in zip(queries, keys, values, prefixes, strict=True):
        if prefix < 0:
            attended.append(F.scaled_dot_product_attention(query, key, value, is_causal=True, **options))
            continue
        key, value = torch.cat([keys[prefix], key], dim=2), torch.cat([values[prefix], value], dim=2)
        # `is_causal` would align the diagonal with the first key, not with the last.
        seen = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=key.device)
        mask = seen.tril(lengths[prefix])
        attended.append(F.scaled_dot_product_attention(query, key, value, attn_mask=mask, **options))
    return torch.cat(attended, dim=2).transpose(1, 2)


def _flash(
    query_1HLK: Tensor,
    key_1GLK: Tensor,
    value_1GLK: Tensor,
    lengths: tuple[int, ...],
    prefixes: tuple[int, ...],
    scaling: float | None,
) -> Tensor:
    query_LHK, key_LGK, value_LGK = (part[0].transpose(0, 1) for part in (query_1HLK, key_1GLK, value_1GLK))
    starts, key_starts, longest, longest_keys, rows = flash_layout(lengths, prefixes, query_LHK.device)
    if rows is not None:
        key_LGK, value_LGK = key_LGK[rows], value_LGK[rows]
    repeats = query_LHK.shape[1] // key_LGK.shape[1]
    if repeats > 1:
        key_LGK, value_LGK = (part.repeat_interleave(repeats, dim=1) for part in (key_LGK, value_LGK))
    options = {} if scaling is None else {"scale": scaling}
    # Where keys outnumber queries, flash attention aligns the causal diagonal with the last key. Torch gives
    # such segments to no kernel that would align it with the first (`_cudnn_rejection_reasons` in varlen.py).
    attended_LHK = _varlen()(
        query_LHK,
        key_LGK,
        value_LGK,
        starts,
        key_starts,
        longest,
        longest_keys,
        window_size=(-1, 0),
        **options,
    )
    return attended_LHK[None]


@lru_cache(maxsize=2)  # asked for by every layer of a forward pass
def flash_layout(
    lengths: tuple[int, ...], prefixes: tuple[int, ...], device: torch.device
) -> tuple[Tensor, Tensor, int, int, Tensor | None]:
    """Where the queries and keys of each segment stand, as variable-length attention wants it.

    Args:
        lengths: Tokens of each segment.
        prefixes: Index of the segment that each continues, -1 for none.
        device: Of the tensors.

    Returns:
        First query of each segment and the end [n + 1]; the same of the keys; most queries and most keys of
        a segment; the row of each key: those of the prefix, then the segment's own. Where no segment
        continues another, the first two are one tensor and the last is None: keys stay where they are.
    """
    starts = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
    if max(prefixes) < 0:
        on_device = starts.to(device, non_blocking=True)
        return on_device, on_device, max(lengths), max(lengths), None
    first = starts.tolist()
    own = [torch.arange(first[index], first[index + 1]) for index in range(len(lengths))]
    seen = [
        torch.cat([own[prefix], rows]) if prefix >= 0 else rows
        for prefix, rows in zip(prefixes, own, strict=True)
    ]
    key_lengths = [len(rows) for rows in seen]
    key_starts = torch.tensor([0, *key_lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
    starts, key_starts, rows = (
        part.to(device, non_blocking=True) for part in (starts, key_starts, torch.cat(seen))
    )
    return starts, key_starts, max(lengths), max(key_lengths), rows


@cache
def _varlen() -> Any:
    """Torch's variable-length attention; None in builds that lack it."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn


AttentionInterface.register(NAME, segment_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
