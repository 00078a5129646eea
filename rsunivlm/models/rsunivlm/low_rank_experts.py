"""Granularity experts at a fraction of the size: one shared network, and a low-rank change of it per level.

Expert e computes with W + 2 B_e A_e in the place of each of the network's three matrices W (Hu et al.,
"LoRA", 2021). The shared network is that of stage 1 and stays frozen, so "no expert" still means stage 1. B
starts at zero, so that the model begins as stage 1 to the last bit.

Shapes: L sequence, D hidden, I intermediate, E experts, r rank, b rows of one expert.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMTextConfig
from rsunivlm.models.rsunivlm.experts import GranularityExperts

SCALING = 2.0  # alpha / r, as in the paper's LoRA row (256 / 128)


class LowRankExperts(GranularityExperts):
    """A shared SwiGLU network with `num_experts` low-rank changes; each row runs through exactly one."""

    def __init__(self, config: RSUniVLMTextConfig) -> None:
        super().__init__(config, num_networks=1)
        E, r = config.num_experts, config.expert_rank
        D, I = config.hidden_size, config.intermediate_size  # noqa: E741
        self.gate_up_a = nn.Parameter(torch.empty(E, 2 * r, D))
        self.gate_up_b = nn.Parameter(torch.empty(E, 2 * I, r))
        self.down_a = nn.Parameter(torch.empty(E, r, I))
        self.down_b = nn.Parameter(torch.empty(E, D, r))

    @property
    def low_rank(self) -> tuple[nn.Parameter, ...]:
        """What is trained: the low-rank changes of all experts."""
        return (self.gate_up_a, self.gate_up_b, self.down_a, self.down_b)

    @property
    def idle_parameters(self) -> int:
        """Parameters that one sample does not run through."""
        return sum(p.numel() - p[0].numel() for p in self.low_rank)

    def dense(self, expert: int) -> tuple[Tensor, Tensor]:
        """The shared network with the change of one expert folded in: gate and up [2I, D], down [D, I]."""
        return (
            fold_gate_up(self.gate_up_proj[0], self.gate_up_a[expert], self.gate_up_b[expert]),
            fold(self.down_proj[0], self.down_a[expert], self.down_b[expert]),
        )

    def _networks(self) -> list[tuple[Tensor, ...]]:
        shared = (self.gate_up_proj[0], self.down_proj[0])
        return [(*shared, *changes) for changes in zip(*(p.unbind(0) for p in self.low_rank), strict=True)]

    def _expert(self, x_bLD: Tensor, *weights: Tensor) -> Tensor:
        gate_up_2ID, down_DI, gate_up_a_2rD, gate_up_b_2Ir, down_a_rI, down_b_Dr = weights
        gate_bLI, up_bLI = (
            _changed(x_bLD, weight, a, b)
            for weight, a, b in zip(
                gate_up_2ID.chunk(2), gate_up_a_2rD.chunk(2), gate_up_b_2Ir.chunk(2), strict=True
            )
        )
        return _changed(self.act_fn(gate_bLI) * up_bLI, down_DI, down_a_rI, down_b_Dr)


def fold(weight: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The one matrix that a matrix and its low-rank change are: W [m, n], A [r, n], B [m, r]."""
    return weight + SCALING * b @ a


def fold_gate_up(weight_2ID: Tensor, a_2rD: Tensor, b_2Ir: Tensor) -> Tensor:
    """`fold` of gate and up, which lie in one matrix [2I, D]."""
    halves = zip(weight_2ID.chunk(2), a_2rD.chunk(2), b_2Ir.chunk(2), strict=True)
    return torch.cat([fold(*half) for half in halves])


def _changed(x: Tensor, weight: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return F.linear(x, weight) + SCALING * F.linear(F.linear(x, a), b)
