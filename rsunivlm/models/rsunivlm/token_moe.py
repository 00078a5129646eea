"""Token-routed experts, the classic mixture: a learned router sends every token to its best `k` networks.

It is the system that granularity experts are compared with (Liu and Lian 2024, Table 8, row "MoE"). Router
and experts are transformers' own (Qwen2-MoE, without its shared expert): weights stacked in 3-D, grouped
products, router scores renormalised over the chosen experts. Ours is the balance loss, taken layer by layer;
without it a router soon sends everything to a few experts.

Shapes: B batch, L sequence, D hidden, T = B x L tokens, E experts, k experts a token.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from transformers import Qwen2MoeConfig
from transformers.models.qwen2_moe.modeling_qwen2_moe import Qwen2MoeExperts, Qwen2MoeTopKRouter

from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMTextConfig


@dataclass
class TokenRouting:
    """What the routers of one forward pass decide; each layer adds its scores.

    Attributes:
        top_k: Experts of a token.
        weight: Of the balance loss.
        mask: 1 for real tokens [B, L]; None where all are.
        logits: Router scores of each layer [T, E], in training only.
    """

    top_k: int
    weight: float
    mask: Tensor | None
    logits: list[Tensor] = field(default_factory=list)

    def weighted_balance(self) -> Tensor | None:
        """The balance loss times its weight; None outside training."""
        return self.weight * balance_loss(self) if self.logits else None


class TokenRoutedExperts(nn.Module):
    """SwiGLU networks, of which each token runs through `num_experts_per_tok`."""

    def __init__(self, config: RSUniVLMTextConfig) -> None:
        super().__init__()
        library_config = Qwen2MoeConfig(
            hidden_size=config.hidden_size,
            hidden_act=config.hidden_act,
            num_experts=config.num_routed_experts,
            num_experts_per_tok=config.num_experts_per_tok,
            moe_intermediate_size=config.moe_intermediate_size,
            norm_topk_prob=True,
            experts_implementation="grouped_mm",
        )
        self.gate = Qwen2MoeTopKRouter(library_config)
        self.experts = Qwen2MoeExperts(library_config)

    @property
    def idle_parameters(self) -> int:
        """Parameters that one token does not run through."""
        experts = self.experts.gate_up_proj.numel() + self.experts.down_proj.numel()
        return experts - experts // self.gate.num_experts * self.gate.top_k

    def forward(self, x_BLD: Tensor, routing: TokenRouting) -> Tensor:
        """Apply to each token its experts; shape [B, L, D] in and out."""
        logits_TE, weights_Tk, index_Tk = self.gate(x_BLD)
        if self.training:
            routing.logits.append(logits_TE)
        out_TD: Tensor = self.experts(x_BLD.flatten(0, 1), index_Tk, weights_Tk)
        return out_TD.view_as(x_BLD)


def balance_loss(routing: TokenRouting) -> Tensor:
    """How unevenly the routers of a pass used their experts: 1 when evenly, more otherwise; mean over layers.

    E x sum over experts of (share of the choices) x (mean router probability), from Fedus, Zoph and Shazeer,
    "Switch Transformers" (2021), eq. 4, with the choices of all k ranks.
    """
    losses = []
    for logits_TE in routing.logits:
        probabilities_TE = logits_TE.float().softmax(dim=-1)
        chosen_TE = torch.zeros_like(probabilities_TE)
        chosen_TE = chosen_TE.scatter(1, logits_TE.topk(routing.top_k).indices, 1.0 / routing.top_k)
        weight_T1 = torch.ones_like(probabilities_TE[:, :1])
        if routing.mask is not None:
            weight_T1 = routing.mask.flatten()[:, None].to(weight_T1)
        weight_T1 = weight_T1 / weight_T1.sum()
        share_E, mean_E = (weight_T1 * chosen_TE).sum(dim=0), (weight_T1 * probabilities_TE).sum(dim=0)
        losses.append(logits_TE.shape[1] * (share_E * mean_E).sum())
    return torch.stack(losses).mean()


def with_balance(
    loss: Tensor, balance: Tensor | None, labels: Tensor, num_items: Tensor | int | None
) -> Tensor:
    """Add a pass's balance loss to its cross-entropy.

    It weighs as much as the pass has of the global batch's supervised tokens, so that the balance losses of
    all passes and processes of a step add up to their mean. Each measures the balance of its own tokens:
    unlike the cross-entropy, it does depend on how a batch is split.

    Args:
        loss: Cross-entropy of this pass over the global batch's supervised tokens.
        balance: Weighted balance loss; None where there is no token router.
        labels: Targets of this pass, -100 where there is none.
        num_items: Supervised tokens of the global batch; None where this pass is all of it.
    """
    if balance is None:
        return loss
    if num_items is None:
        return loss + balance
    share = (labels != -100).sum() / (
        num_items.to(labels.device) if torch.is_tensor(num_items) else num_items
    )
    return loss + share * balance
