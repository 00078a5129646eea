"""Attention within the segments of a packed row.

A packed row holds several samples, one behind the other. Each may look back at itself only. With a mask that
would cost the square of the row's length; here every segment is attended to on its own: by torch's
variable-length flash attention where the device has it, else by one scaled-dot-product call per segment.

Registered with transformers as attention implementation ``"segments"``. Without `segment_lengths` it is the
library's ``"sdpa"``, so that a model set to it still generates.

Shapes: B batch (1 when packed), H query heads, G key-value heads, L tokens of the row, K size of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
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
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention inside each segment.

    Args:
        module: The attention layer.
        query_BHLK: Queries.
        key_BGLK: Keys.
        value_BGLK: Values.
        attention_mask: Mask of a batch that is not packed.
        segment_lengths: Tokens of each segment of the row, summing to L; None for a batch that is not packed.
        scaling: Factor of the scores.
        **kwargs: For the library's function.

    Returns:
        Attended values [B, L, H, K], and no weights.
    """
    if segment_lengths is None:
        return sdpa_attention_forward(
            module, query_BHLK, key_BGLK, value_BGLK, attention_mask, scaling=scaling, **kwargs
        )
    # Under autocast the rotary embedding leaves queries and keys in float32; the kernels want one type.
    query_BHLK, key_BGLK = query_BHLK.to(value_BGLK.dtype), key_BGLK.to(value_BGLK.dtype)
    if value_BGLK.is_cuda and value_BGLK.dtype != torch.float32 and _varlen() is not None:
        return _flash(query_BHLK, key_BGLK, value_BGLK, segment_lengths, scaling), None
    grouped = query_BHLK.shape[1] != key_BGLK.shape[1]
    lengths = list(segment_lengths)
    attended = [
        F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling, enable_gqa=grouped)
        for query, key, value in zip(
            query_BHLK.split(lengths, dim=2),
            key_BGLK.split(lengths, dim=2),
            value_BGLK.split(lengths, dim=2),
            strict=True,
        )
    ]
    return torch.cat(attended, dim=2).transpose(1, 2), None


def _flash(
    query_1HLK: Tensor, key_1GLK: Tensor, value_1GLK: Tensor, lengths: Sequence[int], scaling: float | None
) -> Tensor:
    query_LHK, key_LGK, value_LGK = (part[0].transpose(0, 1) for part in (query_1HLK, key_1GLK, value_1GLK))
    repeats = query_LHK.shape[1] // key_LGK.shape[1]
    if repeats > 1:
        key_LGK, value_LGK = (part.repeat_interleave(repeats, dim=1) for part in (key_LGK, value_LGK))
    starts = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
    starts = starts.to(query_LHK.device, non_blocking=True)
    longest = max(lengths)
    options = {} if scaling is None else {"scale": scaling}
    attended_LHK = _varlen()(
        query_LHK, key_LGK, value_LGK, starts, starts, longest, longest, window_size=(-1, 0), **options
    )
    return attended_LHK[None]


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
