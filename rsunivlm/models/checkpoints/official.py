"""The official layouts of LLaVA-NeXT: RSUniVLM's G-MoE, and dense (its stage 1, LLaVA-OneVision).

    model.embed_tokens, model.layers.N.*, model.norm    Qwen2; with experts `mlp.{0,1,2}.gate_proj` and so on
    model.mm_projector.{0,2}                            the connector
    model.image_newline                                 behind each image; not in every file
    model.vision_tower.vision_tower.vision_model.*      SigLIP; the prefix is doubled
    lm_head.weight                                      a copy of the embedding, often left out

The configuration says nothing of the tower: the official code builds it from a path on its authors' disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rsunivlm.models.checkpoints.parts import newline_part, projector_parts, qwen2_parts, siglip_parts
from rsunivlm.models.checkpoints.plan import Layout, Plan, Wishes
from rsunivlm.models.checkpoints.qwen2 import qwen2_config
from rsunivlm.models.checkpoints.siglip import SO400M_BLOCKS, huggingface_tower
from rsunivlm.models.checkpoints.source import Source
from rsunivlm.models.checkpoints.unused import COMMON, vision_unused, with_newline
from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMConfig
from rsunivlm.tasks import Granularity

_NETWORK = "model.layers.0.mlp."
_NEWLINE = "model.image_newline"
_LM_HEAD = "lm_head.weight"


def _is_official(source: Source) -> bool:
    return "model.mm_projector.0.weight" in source.tensors


def _plan(source: Source, wishes: Wishes, num_experts: int) -> Plan:
    path, config = source.config_of("model.mm_projector.0.weight")
    _refuse_variants(path, config)
    prefix = source.prefix("embeddings.patch_embedding.weight")
    tower = huggingface_tower(source, prefix)
    blocks = min(tower.depth, SO400M_BLOCKS) if tower.is_so400m else tower.depth
    text = qwen2_config(source, "model.", path, config, lm_head=_LM_HEAD, num_experts=num_experts)
    newline, fresh, unused = with_newline(
        wishes,
        stored=_NEWLINE if _NEWLINE in source.tensors else None,
        used="unpad" in str(config.get("mm_patch_merge_type", "spatial_unpad")),
    )
    ours = RSUniVLMConfig(
        vision_config=tower.config(blocks, "pad" if config.get("image_aspect_ratio") == "pad" else "squash"),
        text_config=text,
        image_newline=newline,
    )
    parts = [
        *siglip_parts(prefix, ours),
        *projector_parts("model.mm_projector.0", "model.mm_projector.2"),
        *qwen2_parts("model.", ours, expert=None if num_experts > 1 else 0, lm_head=_LM_HEAD),
    ]
    if newline and not fresh:
        parts.append(newline_part(_NEWLINE))
    return Plan(ours, parts, COMMON | vision_unused(prefix, blocks, tower.depth) | unused, fresh)


def _plan_gmoe(source: Source, wishes: Wishes) -> Plan:
    experts = source.count(_NETWORK)
    if experts != len(Granularity):
        raise ValueError(f"{source} has {experts} experts; the router knows {len(Granularity)}")
    return _plan(source, wishes, experts)


def _refuse_variants(path: Path, config: Mapping[str, Any]) -> None:
    projector = config.get("mm_projector_type", "mlp2x_gelu")
    if projector != "mlp2x_gelu":
        raise ValueError(f"{path}: mm_projector_type {projector!r} is not supported, only 'mlp2x_gelu'")
    if config.get("mm_use_im_start_end"):
        raise ValueError(f"{path}: image start and end tokens (mm_use_im_start_end) are not supported")


OFFICIAL_GMOE = Layout(
    "official RSUniVLM (G-MoE)",
    lambda source: _is_official(source) and f"{_NETWORK}0.gate_proj.weight" in source.tensors,
    _plan_gmoe,
)
OFFICIAL_DENSE = Layout(
    "official LLaVA (dense)", _is_official, lambda source, wishes: _plan(source, wishes, num_experts=1)
)
