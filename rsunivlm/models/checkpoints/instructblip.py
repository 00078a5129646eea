"""InstructBLIP's encoder in an RS-MoE: Q-Former, queries, the norm before and the projection behind them.

The paper's RS-MoE starts from InstructBLIP. Its checkpoints on the hub (Hugging Face's layout) carry a
Q-Former that reads features of 1408 channels, those of EVA-CLIP ViT-g. Behind another tower the keys and
values of its cross-attention have another shape and begin fresh, so that an alignment stage is needed; all
else is taken over. So it is with the projection to another language model and the words of another tokenizer.
What begins fresh is reported.

Vision tower and language model are not taken from here: the tower is timm's, the language model any.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch

from rsunivlm.models.checkpoints.files import StoredTensor, read_tensors
from rsunivlm.models.checkpoints.parts import Part
from rsunivlm.models.rs_moe.modeling_rs_moe import RSMoEForConditionalGeneration

# Ours -> theirs, by prefix.
_NAMES = {
    "bridge.query_tokens": "query_tokens",
    "bridge.ln_vision.": "vision_model.post_layernorm.",
    "bridge.qformer.": "qformer.",
    "bridge.llm_proj.": "language_projection.",
}
# What may have another shape, and what that means.
_FRESH = {
    r"bridge\.qformer\..*\.crossattention\.attention\.(key|value)\.weight": "another vision tower",
    r"bridge\.ln_vision\.(weight|bias)": "another vision tower",
    r"bridge\.llm_proj\.(weight|bias)": "another language model",
    r"bridge\.qformer\.embeddings\.word_embeddings\.weight": "another tokenizer",
}


@dataclass(frozen=True)
class EncoderImport:
    """What came out of a checkpoint.

    Attributes:
        loaded: Our parameters that were filled.
        fresh: Those that keep their initial values -> why.
    """

    loaded: tuple[str, ...]
    fresh: dict[str, str]


def instructblip_parts(model: RSMoEForConditionalGeneration) -> list[Part]:
    """Where InstructBLIP's encoder lies in ours: whole tensors under other names."""
    return [
        Part(name, (), theirs + name.removeprefix(ours))
        for name in model.state_dict()
        for ours, theirs in _NAMES.items()
        if name.startswith(ours)
    ]


@torch.no_grad()
def load_encoder(model: RSMoEForConditionalGeneration, source: Path) -> EncoderImport:
    """Fill the bridge of a model, in place.

    Args:
        model: Of any vision tower, tokenizer and language model.
        source: A folder or file of InstructBLIP's weights in Hugging Face's layout.

    Raises:
        ValueError: The files are damaged, a tensor is missing, or one has another shape that nothing
            explains; names it. The model is as it was.
    """
    tensors = read_tensors(source)
    state = model.state_dict()
    parts = instructblip_parts(model)
    if missing := [part.foreign for part in parts if part.foreign not in tensors]:
        raise ValueError(
            f"{source} lacks {len(missing)} tensors of InstructBLIP's encoder, e.g. {missing[0]}; take a "
            "checkpoint of InstructBlipForConditionalGeneration"
        )
    fresh: dict[str, str] = {}
    for part in parts:
        found, wanted = tensors[part.foreign].shape, tuple(state[part.ours].shape)
        if found != wanted:
            reason = next((why for name, why in _FRESH.items() if re.fullmatch(name, part.ours)), None)
            if reason is None:
                raise ValueError(f"{source}: {part.foreign} has shape {found}, this model wants {wanted}")
            fresh[part.ours] = reason
    # A bias without its weight means nothing.
    for part in parts:
        weight = f"{part.ours.removesuffix('bias')}weight"
        if part.ours.endswith(".bias") and weight in fresh:
            fresh.setdefault(part.ours, fresh[weight])
    loaded = [part for part in parts if part.ours not in fresh]
    for part in loaded:
        state[part.ours].copy_(_read(tensors[part.foreign]))
    return EncoderImport(tuple(part.ours for part in loaded), fresh)


def _read(stored: StoredTensor) -> torch.Tensor:
    # Each chunk is valid until the next.
    return torch.cat([chunk.clone() for chunk in stored.chunks()]).view(stored.shape)
