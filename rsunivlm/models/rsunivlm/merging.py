"""Smaller models out of trained experts, without training: their average, or low-rank changes of it.

The average of networks that began as copies of one is often still a network of the task ("model soups",
Wortsman et al., 2022); whether it is here, docs/checkpoints.md measures. The best change of a given rank is a
truncated singular value decomposition of what an expert has beyond that average (Eckart and Young, 1936).

Shapes: D hidden, I intermediate, E experts, r rank.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rsunivlm.models.rsunivlm.low_rank_experts import SCALING, LowRankExperts
from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration
from rsunivlm.models.rsunivlm.upcycling import granularity_networks, like, make_dense, reconfigure


def average_experts(
    model: RSUniVLMForConditionalGeneration, weights: Sequence[float] | None = None
) -> RSUniVLMForConditionalGeneration:
    """Turn a model with granularity experts, in place, into a dense one whose networks are their average.

    Args:
        model: A model with full or low-rank experts.
        weights: Share of each expert, of any sum above 0; equal by default.

    Returns:
        The same model object.

    Raises:
        ValueError: The model is dense, token-routed or int8, or the weights do not fit its experts.
    """
    networks = granularity_networks(model)
    count = model.config.num_experts
    shares = [1.0] * count if weights is None else list(weights)
    if len(shares) != count or not all(0 <= share < float("inf") for share in shares) or not sum(shares):
        raise ValueError(f"weights must be {count} numbers of at least 0, not all 0; got {shares}")
    # One layer at a time: in float64 a layer is twice to eight times as large.
    averages = (_average([network.dense(expert) for expert in range(count)], shares) for network in networks)
    return make_dense(model, averages)


@torch.no_grad()
def factor_experts(model: RSUniVLMForConditionalGeneration, rank: int) -> RSUniVLMForConditionalGeneration:
    """Turn a model's experts, in place, into low-rank changes of their average; see `LowRankExperts`.

    Args:
        model: A model with full or low-rank experts.
        rank: Of the changes; at the full rank, that of the smaller side of a matrix, nothing is lost.

    Returns:
        The same model object.

    Raises:
        ValueError: The model is dense, token-routed or int8, or there is no such rank.
    """
    networks = granularity_networks(model)
    text = model.config.text_config
    full = min(text.hidden_size, text.intermediate_size)
    if not 1 <= rank <= full:
        raise ValueError(f"rank must be in 1..{full}, got {rank}")
    count = text.num_experts
    config = reconfigure(model, num_experts=count, expert_rank=rank)
    for layer, network in zip(model.model.language_model.layers, networks, strict=True):
        experts = [network.dense(expert) for expert in range(count)]
        gate_up_2ID, down_DI = _average(experts, [1.0] * count)
        factored = like(network.gate_up_proj, LowRankExperts(config))
        factored.gate_up_proj[0], factored.down_proj[0] = gate_up_2ID, down_DI
        for expert, (its_gate_up_2ID, its_down_DI) in enumerate(experts):
            change_2ID = its_gate_up_2ID - gate_up_2ID
            gate, up = (_low_rank(change_ID, rank) for change_ID in change_2ID.chunk(2))
            factored.gate_up_a[expert] = torch.cat([gate[0], up[0]])
            factored.gate_up_b[expert] = torch.cat([gate[1], up[1]])
            factored.down_a[expert], factored.down_b[expert] = _low_rank(its_down_DI - down_DI, rank)
        layer.mlp = factored
    return model


def _average(experts: Sequence[tuple[Tensor, Tensor]], shares: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Weighted mean in float64, in which the mean of equal float32 numbers is that number."""
    gate_up_2ID, down_DI = (
        sum((share * weight.double() for share, weight in zip(shares, stacked, strict=True)), torch.zeros(()))
        / sum(shares)
        for stacked in zip(*experts, strict=True)
    )
    return gate_up_2ID, down_DI


def _low_rank(change: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """A and B with `SCALING * B @ A` nearest to a change of a weight."""
    u, s, vh = torch.linalg.svd(change.float(), full_matrices=False)
    return vh[:rank], u[:, :rank] * (s[:rank] / SCALING)
