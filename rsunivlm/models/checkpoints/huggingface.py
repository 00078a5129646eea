"""Hugging Face's LLaVA classes with SigLIP and Qwen2: LlavaOnevision, and Llava as our export writes it.

    vision_tower.[vision_model.]embeddings, encoder, ...    SigLIP; transformers 5 leaves `vision_model` out
    multi_modal_projector.linear_{1,2}                      the connector
    language_model.model.*, language_model.lm_head          Qwen2, its vocabulary padded (152,000 rows)
    image_newline                                           LlavaOnevision only

Within the running model the same tensors are named `model.vision_tower`, `model.language_model` and so on;
files with these names are read, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rsunivlm.models.checkpoints.parts import newline_part, projector_parts, qwen2_parts, siglip_parts
from rsunivlm.models.checkpoints.plan import Layout, Plan, Wishes
from rsunivlm.models.checkpoints.qwen2 import qwen2_config
from rsunivlm.models.checkpoints.siglip import huggingface_tower
from rsunivlm.models.checkpoints.source import Source
from rsunivlm.models.checkpoints.unused import COMMON, vision_unused, with_newline
from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMConfig

_PROJECTOR = "multi_modal_projector.linear_1.weight"
# (vision_feature_layer, vision_feature_select_strategy) where a configuration leaves them out.
_DEFAULTS: dict[str, tuple[int, str]] = {"llava": (-2, "default"), "llava_onevision": (-1, "full")}


def _plan(source: Source, wishes: Wishes) -> Plan:
    base = source.prefix(_PROJECTOR)
    path, config = source.config_of(f"{base}{_PROJECTOR}")
    vision, text_prefix = (
        source.prefix("embeddings.patch_embedding.weight"),
        source.prefix("embed_tokens.weight"),
    )
    tower = huggingface_tower(source, vision)
    blocks = _blocks(path, config, tower.depth)
    lm_head = next((f"{head}lm_head.weight" for head in source.prefixes("lm_head.weight")), "lm_head.weight")
    fields = config.get("text_config")
    if not isinstance(fields, dict):
        raise ValueError(f"{path} must hold text_config, the language model's settings")
    text = qwen2_config(source, text_prefix, path, fields, lm_head=lm_head)
    stored = f"{base}image_newline" if f"{base}image_newline" in source.tensors else None
    newline, fresh, unused = with_newline(wishes, stored=stored, used=True)
    activation = config.get("projector_hidden_act", "gelu")
    if activation != "gelu":
        raise ValueError(f"{path}: projector_hidden_act {activation!r} is not supported, only 'gelu'")
    ours = RSUniVLMConfig(vision_config=tower.config(blocks), text_config=text, image_newline=newline)
    parts = [
        *siglip_parts(vision, ours),
        *projector_parts(f"{base}multi_modal_projector.linear_1", f"{base}multi_modal_projector.linear_2"),
        *qwen2_parts(text_prefix, ours, lm_head=lm_head),
    ]
    if newline and stored:
        parts.append(newline_part(stored))
    return Plan(ours, parts, COMMON | vision_unused(vision, blocks, tower.depth) | unused, fresh)


def _blocks(path: Path, config: dict[str, Any], depth: int) -> int:
    """Blocks of the tower up to the one that is read."""
    kind = str(config.get("model_type"))
    if kind not in _DEFAULTS:
        raise ValueError(f"{path}: model_type {kind!r} is not supported, only {', '.join(_DEFAULTS)}")
    default_layer, default_strategy = _DEFAULTS[kind]
    layer = config.get("vision_feature_layer", default_layer)
    strategy = config.get("vision_feature_select_strategy", default_strategy)
    if strategy != "full":
        raise ValueError(
            f"{path}: vision_feature_select_strategy {strategy!r} drops the first image token, which in "
            "SigLIP is a part of the image; only 'full' is supported"
        )
    # Of `hidden_states`, whose first entry is the embedding: -1 is behind the last block, 1 behind the first.
    if type(layer) is not int or not 1 <= (blocks := layer if layer > 0 else depth + 1 + layer) <= depth:
        raise ValueError(f"{path}: vision_feature_layer {layer!r} is no block of a tower with {depth}")
    return blocks


HUGGINGFACE = Layout("Hugging Face LLaVA", lambda source: bool(source.prefixes(_PROJECTOR)), _plan)
