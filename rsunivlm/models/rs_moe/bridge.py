"""The Q-Former bridge: vision features and an instruction to a few embeddings for the language model.

As in InstructBLIP (Dai et al., 2023): learned queries look at the image's features through cross-attention
and at the instruction through self-attention, so what they bring depends on what was asked. The Q-Former is
transformers' own module.

Shapes: B rows, S vision tokens, C vision channels, Q queries, L instruction tokens, H Q-Former hidden, D
language hidden.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import InstructBlipQFormerModel

from rsunivlm.models.rs_moe.configuration_rs_moe import RSMoEConfig


class QFormerBridge(nn.Module):
    """LayerNorm, Q-Former and projection; `ln_vision` is trained, while the tower before it is not."""

    def __init__(self, config: RSMoEConfig) -> None:
        super().__init__()
        qformer = config.qformer_config
        self.ln_vision = nn.LayerNorm(config.vision_config.hidden_size)
        self.query_tokens = nn.Parameter(torch.empty(1, config.num_query_tokens, qformer.hidden_size))
        self.qformer = InstructBlipQFormerModel._from_config(qformer)
        self.llm_proj = nn.Linear(qformer.hidden_size, config.text_config.hidden_size)

    def forward(
        self, features_BSC: Tensor, text_ids_BL: Tensor, text_mask_BL: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Look at an image with an instruction in mind.

        Args:
            features_BSC: Of the vision tower.
            text_ids_BL: The instruction in the Q-Former's vocabulary.
            text_mask_BL: 1 for real tokens; None where all are.

        Returns:
            The queries' features [B, Q, H], instruction-aware (F_VLM), and their projection [B, Q, D].
        """
        queries_BQH = self.query_tokens.expand(len(features_BSC), -1, -1)
        if text_mask_BL is None:
            text_mask_BL = torch.ones_like(text_ids_BL)
        mask = torch.cat([text_mask_BL.new_ones(queries_BQH.shape[:2]), text_mask_BL], dim=1)
        hidden = self.qformer(
            input_ids=text_ids_BL,
            attention_mask=mask,
            query_embeds=queries_BQH,
            encoder_hidden_states=self.ln_vision(features_BSC),
        ).last_hidden_state
        seen_BQH = hidden[:, : queries_BQH.shape[1]]
        return seen_BQH, self.llm_proj(seen_BQH)
