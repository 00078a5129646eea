"""Which feed-forward networks a configuration has, and how a batch is sent through them.

The language model is the same in every system; they differ here: one dense network, three granularity
experts, three low-rank changes of a shared network, or experts that a learned router chooses per token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import initialization as init

from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMTextConfig
from rsunivlm.models.rsunivlm.experts import ExpertDispatch, GranularityExperts
from rsunivlm.models.rsunivlm.int8 import Int8Experts
from rsunivlm.models.rsunivlm.low_rank_experts import LowRankExperts
from rsunivlm.models.rsunivlm.token_moe import TokenRoutedExperts, TokenRouting


@dataclass(frozen=True)
class Kept:
    """The positions that go through the last layer's feed-forward network: those whose output is read.

    Behind attention of the last layer no position depends on another, and training reads the supervised ones
    only, a fifth or less.

    Attributes:
        positions: Of the flattened batch [M].
        dispatch: How they go to the networks, as one packed row.
    """

    positions: Tensor
    dispatch: ExpertDispatch


def make_feed_forward(config: RSUniVLMTextConfig) -> nn.Module:
    """The feed-forward networks of one layer, uninitialised."""
    if config.num_routed_experts:
        return TokenRoutedExperts(config)
    return LowRankExperts(config) if config.expert_rank else GranularityExperts(config)


def init_feed_forward(module: nn.Module, config: RSUniVLMTextConfig) -> None:
    """Initialise the parameters that transformers does not know; other modules are left alone."""
    if isinstance(module, TokenRoutedExperts):
        for parameter in module.parameters():
            init.normal_(parameter, std=config.initializer_range)
    elif isinstance(module, GranularityExperts) and not isinstance(module, Int8Experts):  # those are loaded
        init.normal_(module.gate_up_proj, std=config.initializer_range)
        init.normal_(module.down_proj, std=config.initializer_range)
        # CODEPATH: set for models trained from scratch (nano, quick); loaded checkpoints are not initialised.
        if config.zero_init_residual:
            init.zeros_(module.down_proj)
        if isinstance(module, LowRankExperts):
            init_low_rank(module)


def init_low_rank(module: LowRankExperts) -> None:
    """A at unit gain, B at zero: the change begins as nothing."""
    for a, b in ((module.gate_up_a, module.gate_up_b), (module.down_a, module.down_b)):
        init.normal_(a, std=a.shape[-1] ** -0.5)
        init.zeros_(b)


def plan_dispatch(
    config: RSUniVLMTextConfig,
    size: tuple[int, int],
    device: torch.device,
    *,
    expert_ids: Tensor | None,
    expert_splits: Sequence[int] | None,
    packed: bool,
    attention_mask: Tensor | None,
) -> ExpertDispatch | TokenRouting:
    """How the rows (or tokens) of a batch go to the networks, worked out once per forward pass.

    Args:
        config: Of the language model.
        size: Rows B and positions L of the batch.
        device: Of the batch.
        expert_ids: Expert of each row [B].
        expert_splits: Rows per expert of sorted rows; of a packed row, tokens per expert.
        packed: The batch is one packed row.
        attention_mask: 1 for real positions [B, L].

    Raises:
        ValueError: A model with several experts got neither ids nor splits, or they do not fit the batch.
    """
    batch_size, length = size
    if config.num_routed_experts:
        known = attention_mask is not None and tuple(attention_mask.shape) == size
        mask = attention_mask if known else None
        return TokenRouting(config.num_experts_per_tok, config.router_aux_loss_coef, mask)
    if config.num_experts == 1:
        return ExpertDispatch((batch_size,))
    if packed:
        if expert_splits is None:
            raise ValueError("a packed row needs expert_splits, tokens per expert")
        return ExpertDispatch.from_splits(expert_splits, length, config.num_experts, packed=True)
    if expert_splits is not None:
        return ExpertDispatch.from_splits(expert_splits, batch_size, config.num_experts)
    if expert_ids is None:
        raise ValueError(
            f"a model with {config.num_experts} experts needs expert_ids, one per row of the batch"
        )
    # One transfer per forward pass when the ids live on a device; collator and predictor avoid it by sorting
    # the rows and passing expert_splits.
    return ExpertDispatch.from_ids(expert_ids.tolist(), config.num_experts, device)


def plan_kept(
    config: RSUniVLMTextConfig, positions: Tensor | None, splits: Sequence[int] | None
) -> Kept | None:
    """What the last layer computes when only some positions are read.

    Args:
        config: Of the language model.
        positions: Of the flattened batch, sorted by expert [M]; None reads all.
        splits: Positions per expert; None where they are not known.

    Returns:
        None where the last layer computes all positions: all are read, the splits are not known, or a token
        router's balance loss counts every token.

    Raises:
        ValueError: The splits do not fit positions or experts.
    """
    if positions is None or splits is None or config.num_routed_experts:
        return None
    dispatch = ExpertDispatch.from_splits(splits, len(positions), config.num_experts, packed=True)
    return Kept(positions, dispatch)
