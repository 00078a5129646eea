"""Parameter counts of an RS-MoE: stored, active, with adapters and with copies. Nothing is allocated.

All experts run for every image, so "active" is what one token runs through in one expert; what an image costs
is as many decodings as there are experts.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from rsunivlm.models.rs_moe.configuration_rs_moe import RSMoEConfig
from rsunivlm.models.rs_moe.experts import adapter_layers
from rsunivlm.models.rs_moe.modeling_rs_moe import RSMoEForConditionalGeneration


@dataclass(frozen=True)
class RSMoECounts:
    """Numbers of parameters.

    Attributes:
        vision_tower: Of the timm model up to the block that is used.
        bridge: Q-Former, its queries, the norm before and the projection behind it.
        qformer: Of it, the Q-Former with its queries.
        language_model: Without experts.
        per_adapter: Adapter of one expert; 0 without adapters.
        router: Network of the soft tokens, for all experts.
        num_experts: Experts, all of which run for every image.
        stored: In this checkpoint.
        active: Of them, those that one token runs through.
        as_copies: Were every expert a language model of its own, without any adapters and router.
        trained_stage2: Adapters and router.
    """

    vision_tower: int
    bridge: int
    qformer: int
    language_model: int
    per_adapter: int
    router: int
    num_experts: int
    stored: int
    active: int
    as_copies: int
    trained_stage2: int

    def to_json(self) -> dict[str, int]:
        """The counts by name."""
        return asdict(self)

    def rows(self) -> list[tuple[str, int]]:
        """Titles and counts, in the order of a table."""
        return [
            ("vision tower", self.vision_tower),
            ("bridge", self.bridge),
            ("  of it Q-Former and queries", self.qformer),
            ("language model", self.language_model),
            ("experts, all run for every image", self.num_experts),
            ("  adapter of one expert", self.per_adapter),
            ("router's soft tokens", self.router),
            ("stored in this checkpoint", self.stored),
            ("  with experts as copies", self.as_copies),
            ("active in one expert, per token", self.active),
            ("trained in stage 2", self.trained_stage2),
        ]


def count_rs_moe(config: RSMoEConfig) -> RSMoECounts:
    """Count on the meta device; tied embeddings are counted once."""
    with torch.device("meta"):
        model = RSMoEForConditionalGeneration(config)
    copies = model.language_models
    one: Any = model.language_model if copies is None else next(iter(copies.values()))
    experts = config.num_experts
    adapters = 0
    for _, layer in adapter_layers(one):
        adapters += sum(tensor.numel() for name in layer.names for tensor in layer.adapter(name))
    per_adapter = adapters // experts if experts else 0
    language_model = _size(one) - adapters
    seen = _size(model.vision_tower) + _size(model.bridge)
    router = _size(model.router) if model.router is not None else 0
    stored = _size(model)
    idle = (experts - 1) * (per_adapter + router // experts) if experts else 0
    return RSMoECounts(
        vision_tower=_size(model.vision_tower),
        bridge=_size(model.bridge),
        qformer=_size(model.bridge.qformer) + model.bridge.query_tokens.numel(),
        language_model=language_model,
        per_adapter=per_adapter,
        router=router,
        num_experts=experts,
        stored=stored,
        active=stored - idle - (0 if copies is None else (experts - 1) * language_model),
        as_copies=seen + max(1, experts) * language_model,
        trained_stage2=adapters + router if copies is None else experts * language_model + router,
    )


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
