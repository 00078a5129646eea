"""Upcycling: the experts of stage 2 begin as copies of the feed-forward networks of stage 1.

Right after it, each expert gives the dense model's logits to the last bit (DESIGN of the model family:
Liu and Lian 2024, section 3.2; the idea: Komatsuzaki et al., "Sparse Upcycling", 2023).
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from rsunivlm.models.rsunivlm.experts import GranularityExperts
from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration
from rsunivlm.tasks import Granularity


@torch.no_grad()
def upcycle(
    model: RSUniVLMForConditionalGeneration, num_experts: int = len(Granularity)
) -> RSUniVLMForConditionalGeneration:
    """Turn a dense model into one with experts, in place, by copying each feed-forward network.

    Args:
        model: A dense model (`config.num_experts == 1`).
        num_experts: Copies to make; the router knows three.

    Returns:
        The same model object, with new expert parameters and an updated configuration.

    Raises:
        ValueError: The model has experts already.
    """
    if model.config.num_experts != 1:
        raise ValueError(
            f"upcycling starts from a dense model; this one has {model.config.num_experts} experts"
        )
    dense_config = model.config.text_config
    text_config = copy.deepcopy(dense_config)
    text_config.num_experts = num_experts
    model.config.text_config = text_config
    for module in model.modules():  # the attention layers read theirs too
        if getattr(module, "config", None) is dense_config:
            module.config = text_config
    for module in model.modules():
        if isinstance(module, GranularityExperts):
            for name in ("gate_up_proj", "down_proj"):
                dense = getattr(module, name)
                copies = dense.expand(num_experts, -1, -1).clone()
                setattr(module, name, nn.Parameter(copies, requires_grad=dense.requires_grad))
    return model
