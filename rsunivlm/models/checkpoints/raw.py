"""Raw parts: a SigLIP tower (Hugging Face's or timm's names) and a Qwen2 or Qwen2.5 language model.

As in LLaVA, the features are those behind the last block but one. Nothing connects the two yet: the
connector (and the newline, where it is asked for) begins as in a new model, by a seed.
"""

from __future__ import annotations

from rsunivlm.models.checkpoints.parts import projector_parts, qwen2_parts, siglip_parts, timm_parts
from rsunivlm.models.checkpoints.plan import Layout, Plan, Wishes
from rsunivlm.models.checkpoints.qwen2 import qwen2_config
from rsunivlm.models.checkpoints.siglip import huggingface_tower, timm_tower
from rsunivlm.models.checkpoints.source import Source
from rsunivlm.models.checkpoints.unused import COMMON, vision_unused, with_newline
from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMConfig

_HUGGINGFACE_PATCH = "embeddings.patch_embedding.weight"
_TIMM_PATCH = "patch_embed.proj.weight"
_EMBEDDING = "embed_tokens.weight"
_LM_HEAD = "lm_head.weight"
# SigLIP's other half, which reads captions: Hugging Face's and OpenCLIP's names.
_TEXT_TOWER = {
    r"text_model\..*|text\..*": "text tower of SigLIP",
    r"logit_(scale|bias)": "temperature of SigLIP's training",
}


def _matches(source: Source) -> bool:
    vision = source.prefixes(_HUGGINGFACE_PATCH) + source.prefixes(_TIMM_PATCH)
    text = source.prefixes(_EMBEDDING)
    if len(vision) + len(text) == 1:
        has, lacks = ("vision tower", "language model") if vision else ("language model", "vision tower")
        raise ValueError(
            f"{source} holds only a {has}; give the {lacks} too: rsunivlm convert SIGLIP QWEN2 TARGET"
        )
    return bool(vision and text)


def _plan(source: Source, wishes: Wishes) -> Plan:
    is_timm = bool(source.prefixes(_TIMM_PATCH))
    prefix = source.prefix(_TIMM_PATCH if is_timm else _HUGGINGFACE_PATCH)
    tower = (timm_tower if is_timm else huggingface_tower)(source, prefix)
    if tower.depth < 2:
        raise ValueError(f"{source}: a tower of {tower.depth} block has none before its last")
    blocks = tower.depth - 1
    text_prefix = source.prefix(_EMBEDDING)
    path, fields = source.config_of(f"{text_prefix}{_EMBEDDING}")
    text = qwen2_config(source, text_prefix, path, fields, lm_head=_LM_HEAD)
    newline, fresh, _ = with_newline(wishes, stored=None, used=False)
    config = RSUniVLMConfig(vision_config=tower.config(blocks), text_config=text, image_newline=newline)
    vision = timm_parts(prefix, config) if is_timm else siglip_parts(prefix, config)
    connector = frozenset(part.ours for part in projector_parts("", ""))
    return Plan(
        config,
        [*vision, *qwen2_parts(text_prefix, config, lm_head=_LM_HEAD)],
        COMMON
        | _TEXT_TOWER
        | vision_unused(prefix, blocks, tower.depth, "blocks." if is_timm else "encoder.layers."),
        fresh | connector,
        ["the connector is untrained: train stage 1 before asking anything"],
    )


RAW = Layout("raw SigLIP and Qwen2", _matches, _plan)
