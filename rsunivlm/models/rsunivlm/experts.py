"""Granularity experts: the feed-forward network of a Qwen2 layer in E copies, one per level of detail.

All copies live in two stacked parameters, so that every parameter gets a gradient in every step (ZeRO never
waits for an expert that no sample of a rank used), and a batch costs at most E dense products on row slices.
The split sizes are known on the host before the forward pass begins; nothing inside waits for the device.

Shapes: B batch, L sequence, D hidden, I intermediate, E experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import ACT2FN

from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMTextConfig


@dataclass(frozen=True)
class ExpertDispatch:
    """How the rows of a batch go to the experts, worked out once per forward pass.

    A packed row holds samples of several experts: then tokens go to the experts instead of rows.

    Attributes:
        splits: Rows per expert, in the order of the experts; they sum to B. Of a packed row, tokens per
            expert, summing to L.
        order: Permutation [B] that sorts the rows by expert; None when they are sorted already.
        inverse: The permutation that undoes `order`; None with it.
        packed: `splits` count the tokens of one packed row.
        only: The one expert of all tokens, for passes whose sizes a compiler is not to see as numbers; there
            are no splits then.
    """

    splits: tuple[int, ...]
    order: Tensor | None = None
    inverse: Tensor | None = None
    packed: bool = False
    only: int | None = None

    @classmethod
    def from_ids(cls, expert_ids: Sequence[int], num_experts: int, device: torch.device) -> ExpertDispatch:
        """Plan the dispatch of rows with the given experts.

        Raises:
            ValueError: An id is outside 0..num_experts - 1.
        """
        if any(not 0 <= index < num_experts for index in expert_ids):
            raise ValueError(f"expert ids must be in 0..{num_experts - 1}, got {sorted(set(expert_ids))}")
        splits = tuple(sum(index == expert for index in expert_ids) for expert in range(num_experts))
        order = sorted(range(len(expert_ids)), key=lambda row: expert_ids[row])  # stable
        if order == list(range(len(order))):
            return cls(splits)
        order_B = torch.tensor(order, device=device)
        return cls(splits, order_B, torch.argsort(order_B))

    @classmethod
    def from_splits(
        cls, splits: Sequence[int], size: int, num_experts: int, *, packed: bool = False
    ) -> ExpertDispatch:
        """Take over split sizes that the collator counted on rows (or the tokens of a pack) sorted by expert.

        Raises:
            ValueError: The splits do not fit the batch or the number of experts.
        """
        if len(splits) != num_experts or sum(splits) != size:
            unit = "tokens" if packed else "rows"
            raise ValueError(
                f"expert_splits {tuple(splits)} do not cover {size} {unit}, {num_experts} experts"
            )
        return cls(tuple(splits), packed=packed)


class GranularityExperts(nn.Module):
    """SwiGLU feed-forward networks, stacked; each row of the batch runs through exactly one.

    With one expert it is the plain Qwen2 network, computed by the same operations, so that upcycled experts
    reproduce the dense model to the last bit.
    """

    def __init__(self, config: RSUniVLMTextConfig, num_networks: int | None = None) -> None:
        super().__init__()
        E, D, I = num_networks or config.num_experts, config.hidden_size, config.intermediate_size  # noqa: E741
        self.gate_up_proj = nn.Parameter(torch.empty(E, 2 * I, D))
        self.down_proj = nn.Parameter(torch.empty(E, D, I))
        # The bare function, not the module: it runs once per expert in use, and ZeRO-3 wants every process to
        # call the same modules.
        self.act_fn = ACT2FN[config.hidden_act].forward

    @property
    def idle_parameters(self) -> int:
        """Parameters that one sample does not run through: those of the other experts."""
        return sum(p.numel() - p[0].numel() for p in (self.gate_up_proj, self.down_proj))

    def dense(self, expert: int) -> tuple[Tensor, Tensor]:
        """The one network that one expert computes with: gate and up [2I, D], down [D, I]."""
        return self.gate_up_proj[expert], self.down_proj[expert]

    def forward(self, x_BLD: Tensor, dispatch: ExpertDispatch) -> Tensor:
        """Apply to each row (or token of a pack) its expert; shape [B, L, D] in and out."""
        if dispatch.packed:
            return self._dispatched(x_BLD[0], dispatch)[None]
        return self._dispatched(x_BLD, dispatch)

    def _dispatched(self, x_BLD: Tensor, dispatch: ExpertDispatch) -> Tensor:
        if dispatch.only is not None:
            return self._expert(x_BLD, *self._networks()[dispatch.only])
        sorted_BLD = x_BLD if dispatch.order is None else x_BLD[dispatch.order]
        outputs = [
            self._expert(rows_bLD, *weights)
            for rows_bLD, weights in zip(sorted_BLD.split(dispatch.splits), self._networks(), strict=True)
            # Of nothing at all every expert takes its share, so that its weights get a gradient (of zeros).
            if len(rows_bLD) or not len(x_BLD)
        ]
        out_BLD = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
        return out_BLD if dispatch.inverse is None else out_BLD[dispatch.inverse]

    def _networks(self) -> list[tuple[Tensor, ...]]:
        """The weights of each expert."""
        # unbind, not indexing: its backward writes the stacked gradient once, with zeros for unused experts.
        return list(zip(self.gate_up_proj.unbind(0), self.down_proj.unbind(0), strict=True))

    def _expert(self, x_bLD: Tensor, *weights: Tensor) -> Tensor:
        gate_up_2ID, down_DI = weights
        # Two products rather than one of double width: the same kernel calls as stock Qwen2.
        gate_ID, up_ID = gate_up_2ID.chunk(2)
        return F.linear(self.act_fn(F.linear(x_bLD, gate_ID)) * F.linear(x_bLD, up_ID), down_DI)
