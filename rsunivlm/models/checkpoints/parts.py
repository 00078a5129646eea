"""How tensors of foreign checkpoints lie in ours: one table per layout, read both ways.

Other code stores the same numbers under other names and in other pieces: Hugging Face keeps query, key and
value of a vision block apart where timm has one matrix, and one file per expert where we stack them. Each
foreign tensor is a slice of one of ours, so a layout is a list of `Part`s. Import fills the slices, export
takes them out; nothing is computed, so a round trip gives back every bit. Every slice is one run of elements
(`element_range`): converting is copying ranges of bytes from file to file.

Here are the tables of the parts that all LLaVA-style checkpoints have in common; a layout's own file puts
them together with its prefixes.

Shapes: C vision channels, D hidden, I intermediate, E experts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMConfig

Index = tuple[int | slice, ...]

VISION = "model.vision_tower.backbone"
TEXT = "model.language_model"


@dataclass(frozen=True)
class Part:
    """One foreign tensor and its place in ours.

    Attributes:
        ours: Name of our parameter, as in `state_dict`.
        index: Where in it; empty for the whole parameter. `ours[index]` has the foreign tensor's shape.
        foreign: Name in the foreign checkpoint.
        optional: The foreign checkpoint may lack it; then ours keeps its initial value.
    """

    ours: str
    index: Index
    foreign: str
    optional: bool = False


def element_range(shape: Sequence[int], index: Index) -> tuple[int, tuple[int, ...]]:
    """Where a slice lies in the flattened tensor.

    Args:
        shape: Of the whole tensor.
        index: Numbers, then at most one slice.

    Returns:
        Place of the slice's first element, and the slice's shape; its elements follow one another.
    """
    first, rest = 0, tuple(shape)
    for place in index:
        length, rest = rest[0], rest[1:]
        row = math.prod(rest)
        if isinstance(place, slice):
            begin, end, _ = place.indices(length)
            return first + begin * row, (end - begin, *rest)
        first += place * row
    return first, rest


def siglip_parts(prefix: str, config: RSUniVLMConfig, *, post_layernorm: bool = True) -> list[Part]:
    """A Hugging Face SigLIP tower in timm's vision transformer.

    Args:
        prefix: What stands before `embeddings` and `encoder`, with its dot, e.g. `vision_model.`.
        config: Of our model; its tower is a timm SigLIP.
        post_layernorm: List the final norm, too; it is optional because no feature depends on it.
    """
    C = config.vision_config.hidden_size
    parts = [
        Part(f"{VISION}.pos_embed", (0,), f"{prefix}embeddings.position_embedding.weight"),
        *_both(f"{VISION}.patch_embed.proj", f"{prefix}embeddings.patch_embedding"),
    ]
    for block in range(config.vision_config.feature_index + 1):
        ours, foreign = f"{VISION}.blocks.{block}", f"{prefix}encoder.layers.{block}"
        for place, name in enumerate(("q_proj", "k_proj", "v_proj")):
            rows = (slice(place * C, (place + 1) * C),)
            parts += _both(f"{ours}.attn.qkv", f"{foreign}.self_attn.{name}", rows)
        for our_name, name in (
            ("attn.proj", "self_attn.out_proj"),
            ("norm1", "layer_norm1"),
            ("norm2", "layer_norm2"),
            ("mlp.fc1", "mlp.fc1"),
            ("mlp.fc2", "mlp.fc2"),
        ):
            parts += _both(f"{ours}.{our_name}", f"{foreign}.{name}")
    if post_layernorm:
        parts += _both(f"{VISION}.norm", f"{prefix}post_layernorm", optional=True)
    return parts


def timm_parts(prefix: str, config: RSUniVLMConfig) -> list[Part]:
    """A SigLIP tower under timm's own names; arguments as of `siglip_parts`. The final norm is optional."""
    parts = [
        Part(f"{VISION}.pos_embed", (), f"{prefix}pos_embed"),
        *_both(f"{VISION}.patch_embed.proj", f"{prefix}patch_embed.proj"),
        *_both(f"{VISION}.norm", f"{prefix}norm", optional=True),
    ]
    for block in range(config.vision_config.feature_index + 1):
        for name in ("attn.qkv", "attn.proj", "norm1", "norm2", "mlp.fc1", "mlp.fc2"):
            parts += _both(f"{VISION}.blocks.{block}.{name}", f"{prefix}blocks.{block}.{name}")
    return parts


def qwen2_parts(
    prefix: str, config: RSUniVLMConfig, *, expert: int | None = 0, lm_head: str | None = "lm_head.weight"
) -> list[Part]:
    """A Qwen2 language model in ours.

    Args:
        prefix: What stands before `embed_tokens`, `layers` and `norm`, with its dot, e.g. `model.`.
        config: Of our model, with full (not low-rank) experts.
        expert: The expert whose networks are the foreign ones; None where the foreign checkpoint has them
            all, as `mlp.{expert}.gate_proj`.
        lm_head: Name of the head; it is optional where the word embeddings are tied. None leaves it out.
    """
    text = config.text_config
    parts = [
        Part(f"{TEXT}.embed_tokens.weight", (), f"{prefix}embed_tokens.weight"),
        Part(f"{TEXT}.norm.weight", (), f"{prefix}norm.weight"),
    ]
    for layer in range(text.num_hidden_layers):
        ours, foreign = f"{TEXT}.layers.{layer}", f"{prefix}layers.{layer}"
        for name in ("q_proj", "k_proj", "v_proj"):
            parts += _both(f"{ours}.self_attn.{name}", f"{foreign}.self_attn.{name}")
        for name in ("self_attn.o_proj", "input_layernorm", "post_attention_layernorm"):
            parts.append(Part(f"{ours}.{name}.weight", (), f"{foreign}.{name}.weight"))
        if expert is None:
            for index in range(text.num_experts):
                parts += _network(f"{ours}.mlp", index, f"{foreign}.mlp.{index}", text.intermediate_size)
        else:
            parts += _network(f"{ours}.mlp", expert, f"{foreign}.mlp", text.intermediate_size)
    if lm_head is not None:
        parts.append(Part("lm_head.weight", (), lm_head, optional=config.tie_word_embeddings))
    return parts


def projector_parts(first: str, second: str) -> list[Part]:
    """The two-layer connector under the names of its two linear layers, e.g. `mm_projector.0`."""
    ours = "model.multi_modal_projector"
    return [*_both(f"{ours}.linear_1", first), *_both(f"{ours}.linear_2", second)]


def newline_part(foreign: str) -> Part:
    """The vector behind each image; list it only where our configuration has `image_newline`."""
    return Part("model.image_newline", (), foreign)


def _both(ours: str, foreign: str, index: Index = (), *, optional: bool = False) -> list[Part]:
    return [
        Part(f"{ours}.{kind}", index, f"{foreign}.{kind}", optional=optional) for kind in ("weight", "bias")
    ]


def _network(ours: str, expert: int, foreign: str, width: int) -> list[Part]:
    return [
        Part(f"{ours}.gate_up_proj", (expert, slice(0, width)), f"{foreign}.gate_proj.weight"),
        Part(f"{ours}.gate_up_proj", (expert, slice(width, 2 * width)), f"{foreign}.up_proj.weight"),
        Part(f"{ours}.down_proj", (expert,), f"{foreign}.down_proj.weight"),
    ]
