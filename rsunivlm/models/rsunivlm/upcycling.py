"""Upcycling: what stage 2 trains begins as copies of the feed-forward networks of stage 1; and the way back.

Right after it, each granularity expert gives the dense model's logits to the last bit (DESIGN of the model
family: Liu and Lian 2024, section 3.2; the idea: Komatsuzaki et al., "Sparse Upcycling", 2023). The same
holds for low-rank experts, which begin as no change, and, but for rounding, for token-routed experts of full
width, whose weights sum to one over equal copies.

Back again: every granularity expert, full or low-rank, is a dense model of its own (`extract_expert`);
merging.py makes one small model of several.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import nn
from transformers import initialization as init

from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMTextConfig
from rsunivlm.models.rsunivlm.experts import GranularityExperts
from rsunivlm.models.rsunivlm.feed_forward import init_low_rank
from rsunivlm.models.rsunivlm.int8 import require_float_weights
from rsunivlm.models.rsunivlm.low_rank_experts import LowRankExperts
from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration
from rsunivlm.models.rsunivlm.token_moe import TokenRoutedExperts
from rsunivlm.tasks import Granularity

RoutedStart = Literal["slices", "random"]


@torch.no_grad()
def upcycle(
    model: RSUniVLMForConditionalGeneration, num_experts: int = len(Granularity)
) -> RSUniVLMForConditionalGeneration:
    """Turn a dense model into one with experts, in place, by copying each feed-forward network.

    Args:
        model: A dense model.
        num_experts: Copies to make; the router knows three.

    Returns:
        The same model object, with new expert parameters and an updated configuration.

    Raises:
        ValueError: The model has experts already.
    """
    networks = _dense_networks(model)
    reconfigure(model, num_experts=num_experts)
    for module in networks:
        for name in ("gate_up_proj", "down_proj"):
            dense = getattr(module, name)
            copies = dense.expand(num_experts, -1, -1).clone()
            setattr(module, name, nn.Parameter(copies, requires_grad=dense.requires_grad))
    return model


@torch.no_grad()
def upcycle_low_rank(
    model: RSUniVLMForConditionalGeneration, rank: int, num_experts: int = len(Granularity)
) -> RSUniVLMForConditionalGeneration:
    """Turn a dense model, in place, into one whose experts are low-rank changes of its networks.

    Args:
        model: A dense model.
        rank: Rank of the changes.
        num_experts: Changes of each network; the router knows three.

    Returns:
        The same model object.

    Raises:
        ValueError: The model has experts already.
    """
    networks = _dense_networks(model)
    config = reconfigure(model, num_experts=num_experts, expert_rank=rank)
    for layer, dense in zip(model.model.language_model.layers, networks, strict=True):
        experts = like(dense.gate_up_proj, LowRankExperts(config))
        init_low_rank(experts)
        experts.gate_up_proj, experts.down_proj = dense.gate_up_proj, dense.down_proj
        layer.mlp = experts
    return model


@torch.no_grad()
def upcycle_token_routed(
    model: RSUniVLMForConditionalGeneration,
    *,
    num_experts: int,
    top_k: int,
    width: int = 0,
    start: RoutedStart = "slices",
    balance: float = 0.01,
) -> RSUniVLMForConditionalGeneration:
    """Turn a dense model, in place, into one with a learned router per layer; the router begins at random.

    Narrow experts begin as slices of the dense network: expert e takes `width` neighbouring neurons (wrapping
    around), beginning at e / num_experts of them, and its output is scaled by the dense width over `width`,
    so that experts chosen at random give the dense output on average.

    Args:
        model: A dense model.
        num_experts: Experts per layer.
        top_k: Experts of a token.
        width: Neurons of an expert, at most those of the dense network; 0 makes full copies.
        start: `slices` of the dense network, or `random` weights.
        balance: Weight of the balance loss.

    Returns:
        The same model object.

    Raises:
        ValueError: The model has experts already.
    """
    networks = _dense_networks(model)
    full = model.config.text_config.intermediate_size
    width = width or full
    config = reconfigure(
        model,
        num_routed_experts=num_experts,
        num_experts_per_tok=top_k,
        moe_intermediate_size=width,
        router_aux_loss_coef=balance,
    )
    for layer, dense in zip(model.model.language_model.layers, networks, strict=True):
        routed = like(dense.gate_up_proj, TokenRoutedExperts(config))
        init.normal_(routed.gate.weight, std=config.initializer_range)
        experts = routed.experts
        if start == "random":
            init.normal_(experts.gate_up_proj, std=config.initializer_range)
            init.normal_(experts.down_proj, std=config.initializer_range)
        else:
            gate_ID, up_ID = dense.gate_up_proj[0].chunk(2)
            for expert in range(num_experts):
                begin = expert * full // num_experts
                neurons = (torch.arange(width, device=gate_ID.device) + begin) % full
                experts.gate_up_proj[expert] = torch.cat([gate_ID[neurons], up_ID[neurons]])
                experts.down_proj[expert] = dense.down_proj[0][:, neurons] * (full / width)
        layer.mlp = routed
    return model


@torch.no_grad()
def extract_expert(model: RSUniVLMForConditionalGeneration, expert: int) -> RSUniVLMForConditionalGeneration:
    """Turn a model with granularity experts, in place, into the dense model that one of them is.

    The dense model gives that expert's logits: to the last bit from full experts, but for rounding from
    low-rank ones, whose change is folded into the shared network.

    Args:
        model: A model of `upcycle` or `upcycle_low_rank`, trained or not.
        expert: Which expert, see `rsunivlm.tasks.Granularity`.

    Returns:
        The same model object, to be saved as any dense model.

    Raises:
        ValueError: The model has no such expert; a dense or token-routed model has none.
    """
    networks = granularity_networks(model)
    count = model.config.num_experts
    if not 0 <= expert < count:
        raise ValueError(f"expert must be in 0..{count - 1}, got {expert}")
    return make_dense(model, [network.dense(expert) for network in networks])


def granularity_networks(model: RSUniVLMForConditionalGeneration) -> list[GranularityExperts]:
    """The feed-forward networks of a model with granularity experts, layer by layer.

    Raises:
        ValueError: The model is dense or token-routed, or its weights are int8.
    """
    text = model.config.text_config
    if text.is_dense or text.num_routed_experts:
        kind = "dense" if text.is_dense else "token-routed"
        raise ValueError(f"only granularity experts can be taken out or merged; this model is {kind}")
    require_float_weights(model.config, "taking out or merging experts")
    layers: Any = model.model.language_model.layers
    return [layer.mlp for layer in layers]


@torch.no_grad()
def make_dense(
    model: RSUniVLMForConditionalGeneration, networks: Iterable[tuple[torch.Tensor, torch.Tensor]]
) -> RSUniVLMForConditionalGeneration:
    """Give each layer, in place, one feed-forward network in the place of its experts.

    Args:
        model: A model with experts.
        networks: For each layer gate and up [2I, D] and down [D, I]; cast to the model's type.

    Returns:
        The same model object.
    """
    layers: Any = model.model.language_model.layers
    config = reconfigure(model)
    model.config.random_experts_seed = None
    for layer, weights in zip(layers, networks, strict=True):
        layer.mlp = like(layer.mlp.gate_up_proj, GranularityExperts(config))
        for parameter, weight in zip(layer.mlp.parameters(), weights, strict=True):
            parameter.copy_(weight[None])
    return model


def _dense_networks(model: RSUniVLMForConditionalGeneration) -> list[GranularityExperts]:
    """The feed-forward networks of a dense model, layer by layer."""
    require_float_weights(model.config, "upcycling")
    if not model.config.text_config.is_dense:
        count = model.config.text_config.num_routed_experts or model.config.num_experts
        raise ValueError(f"upcycling starts from a dense model; this one has {count} experts")
    layers: Any = model.model.language_model.layers
    return [layer.mlp for layer in layers]


def reconfigure(model: RSUniVLMForConditionalGeneration, **changes: Any) -> RSUniVLMTextConfig:
    """Give the model a changed language-model configuration; the old one is left as it was."""
    old = model.config.text_config
    new: RSUniVLMTextConfig = old.dense()
    for name, value in changes.items():
        setattr(new, name, value)
    model.config.text_config = new
    for module in model.modules():  # the attention layers read theirs too
        if getattr(module, "config", None) is old:
            module.config = new
    return new


def like(weight: torch.Tensor, module: Any) -> Any:
    """The module on the device and with the type of a weight."""
    return module.to(device=weight.device, dtype=weight.dtype)
