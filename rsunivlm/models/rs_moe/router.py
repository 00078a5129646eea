"""The instruction router: one prompt for each expert, out of the user's instruction and the image.

The paper says that its router generates the prompts from the instruction T and the image features F_VLM, and
not how (assumption A1). Here the words come from a template, and, by default, a small network adds soft
tokens made of both. In mode `generate` the language model of stage I writes the words; that takes a decoding,
so it is done where decoding is done (`rsunivlm.inference.rs_moe`).

Shapes: B rows, Q queries, H Q-Former hidden, D language hidden, K soft tokens, E experts, W width of the
network.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init

from rsunivlm.models.rs_moe.configuration_rs_moe import RSMoEConfig


def expert_prompts(config: RSMoEConfig, instruction: str) -> list[str]:
    """The words that each expert is given.

    Args:
        config: Of the model; in mode `generate` these are the prompts that the language model starts from.
        instruction: What the user said, without a task token.
    """
    if config.router == "none":
        return [instruction] * config.num_experts
    return list(config.subtasks.values())


class SoftPrompts(nn.Module):
    """One two-layer network per expert, from the means of F_VLM and of T's word embeddings to soft tokens."""

    def __init__(self, config: RSMoEConfig) -> None:
        super().__init__()
        E, W = config.num_experts, config.soft_hidden_size
        D, K = config.text_config.hidden_size, config.num_soft_tokens
        self.size_KD = (K, D)
        self.spread = config.text_config.initializer_range
        self.in_weight = nn.Parameter(torch.empty(E, W, config.qformer_config.hidden_size + D))
        self.in_bias = nn.Parameter(torch.empty(E, W))
        self.out_weight = nn.Parameter(torch.empty(E, K * D, W))
        self.out_bias = nn.Parameter(torch.empty(E, K * D))

    def reset_parameters(self) -> None:
        """Begin with soft tokens of about the spread of word embeddings."""
        init.normal_(self.in_weight, std=self.in_weight.shape[-1] ** -0.5)
        init.normal_(self.out_weight, std=self.spread * self.out_weight.shape[-1] ** -0.5)
        init.zeros_(self.in_bias)
        init.zeros_(self.out_bias)

    def forward(self, seen_BQH: Tensor, words_BLD: Tensor, mask_BL: Tensor, expert_B: Tensor) -> Tensor:
        """Soft tokens of each row.

        Args:
            seen_BQH: F_VLM of the row.
            words_BLD: Word embeddings of the user's instruction.
            mask_BL: 1 for its real tokens.
            expert_B: Expert of each row, 0 or above.

        Returns:
            Soft tokens [B, K, D].
        """
        weight_BL1 = (mask_BL / mask_BL.sum(dim=1, keepdim=True)).unsqueeze(-1).to(words_BLD.dtype)
        asked_BD = (words_BLD * weight_BL1).sum(dim=1)
        x_BX1 = torch.cat([seen_BQH.mean(dim=1), asked_BD], dim=-1).unsqueeze(-1)
        hidden_BW = F.gelu((self.in_weight[expert_B] @ x_BX1).squeeze(-1) + self.in_bias[expert_B])
        out_BX = (self.out_weight[expert_B] @ hidden_BW.unsqueeze(-1)).squeeze(-1) + self.out_bias[expert_B]
        return out_BX.unflatten(-1, self.size_KD)
