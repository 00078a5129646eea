"""The language model of a foreign checkpoint: sizes from shapes, the rest from its configuration."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import Qwen2Config

from rsunivlm.models.checkpoints.source import Source
from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMTextConfig

# What no shape tells; absent fields mean transformers' defaults, as in any configuration it writes.
_FIELDS = (
    "attention_dropout",
    "initializer_range",
    "max_position_embeddings",
    "rms_norm_eps",
    "rope_parameters",
    "rope_theta",
)
_KEPT = ("attention_dropout", "initializer_range", "max_position_embeddings", "rms_norm_eps")


def qwen2_config(
    source: Source,
    prefix: str,
    path: Path,
    fields: Mapping[str, Any],
    *,
    lm_head: str,
    num_experts: int = 1,
) -> RSUniVLMTextConfig:
    """Configuration of the language model; ids of special tokens are the tokenizer's business.

    Args:
        source: Where it lies.
        prefix: What stands before `embed_tokens`, `layers` and `norm`, with its dot.
        path: Of the configuration, for messages.
        fields: The language model's section of it.
        lm_head: Name of the head.
        num_experts: 1 where each layer has one feed-forward network.

    Raises:
        ValueError: Tensors or fields are missing or contradict each other, or a feature is not Qwen2's.
    """
    rows = source.rows(f"{prefix}embed_tokens.weight")
    hidden = source.shape(f"{prefix}embed_tokens.weight")[1]
    layer = f"{prefix}layers.0."
    network = f"{layer}mlp." if num_experts == 1 else f"{layer}mlp.0."
    sizes = {
        "hidden_size": hidden,
        "intermediate_size": source.rows(f"{network}gate_proj.weight"),
        "num_hidden_layers": source.count(f"{prefix}layers."),
    }
    for name, value in sizes.items():
        if fields.get(name, value) != value:
            raise ValueError(f"{path} says {name} {fields[name]}, the tensors say {value}")
    _refuse_variants(path, fields)
    if fields.get("tie_word_embeddings") is False and lm_head not in source.tensors:
        raise ValueError(f"{source} lacks {lm_head}, and {path} says that the embeddings are not tied")
    heads, kv_heads = _heads(source, layer, path, fields, hidden)
    try:
        stock = Qwen2Config(**{name: fields[name] for name in _FIELDS if name in fields})
    except StrictDataclassError as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error
    rope = stock.rope_parameters
    if not isinstance(rope, dict) or rope.get("rope_type") != "default":
        raise ValueError(f"{path}: only plain rotary positions are supported; remove the scaling")
    theta = rope.get("rope_theta")
    if not isinstance(theta, int | float) or not 0 < theta < math.inf:
        raise ValueError(f"{path}: rope_theta must be a number above 0, got {theta!r}")
    return RSUniVLMTextConfig(
        vocab_size=rows,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        rope_parameters={"rope_type": "default", "rope_theta": float(theta)},
        num_experts=num_experts,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=None,
        **sizes,
        **{name: getattr(stock, name) for name in _KEPT},
    )


def _heads(source: Source, layer: str, path: Path, fields: Mapping[str, Any], hidden: int) -> tuple[int, int]:
    """Query and key-value heads: their number is the configuration's, their size must fit the tensors."""
    heads = fields.get("num_attention_heads")
    if not isinstance(heads, int) or heads < 1 or hidden % heads:
        raise ValueError(
            f"{path} must tell num_attention_heads, a divisor of {hidden}; got {heads!r}. Copy config.json "
            "of the language model beside its weights"
        )
    size = hidden // heads
    queries = source.rows(f"{layer}self_attn.q_proj.weight")
    keys = source.rows(f"{layer}self_attn.k_proj.weight")
    kv_heads = fields.get("num_key_value_heads", keys // size)
    fits = isinstance(kv_heads, int) and kv_heads * size == keys and queries == hidden
    if not fits or fields.get("head_dim") not in (None, size):
        raise ValueError(
            f"{path}: {heads} heads and {kv_heads} key-value heads of width {size} do not fit projections of "
            f"{queries} and {keys} rows"
        )
    return heads, kv_heads


def _refuse_variants(path: Path, fields: Mapping[str, Any]) -> None:
    if fields.get("hidden_act", "silu") != "silu":
        raise ValueError(f"{path}: hidden_act {fields['hidden_act']!r} is not Qwen2's, which is 'silu'")
    if fields.get("use_sliding_window"):
        raise ValueError(f"{path}: sliding windows are not supported; set use_sliding_window to false")
    if fields.get("rope_scaling"):
        raise ValueError(
            f"{path}: rope_scaling is not supported; remove it, texts up to max_position_embeddings stay as "
            "they are"
        )
