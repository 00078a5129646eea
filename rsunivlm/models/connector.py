"""The connector: a two-layer MLP from vision features to the language model's embedding space.

Shapes: N images, S tokens an image, C vision channels, D text hidden size.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN

from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMConfig


class Connector(nn.Module):
    """LLaVA's `mlp2x_gelu` projector, optionally with fixed two-dimensional positions on its output."""

    def __init__(self, config: RSUniVLMConfig) -> None:
        super().__init__()
        C, D = config.vision_config.hidden_size, config.text_config.hidden_size
        self.linear_1 = nn.Linear(C, D)
        self.act = ACT2FN[config.projector_hidden_act]
        self.linear_2 = nn.Linear(D, D)
        self.position_side = config.vision_config.tokens_per_side if config.visual_position == "sine2d" else 0

    def forward(self, features_NSC: Tensor) -> Tensor:
        """Project features [N, S, C] to embeddings [N, S, D]."""
        x_NSD = self.linear_2(self.act(self.linear_1(features_NSC)))
        if self.position_side:
            x_NSD = x_NSD + sine_positions_2d(self.position_side, x_NSD.shape[-1], x_NSD.device).to(
                x_NSD.dtype
            )
        return x_NSD


def sine_positions_2d(side: int, dim: int, device: torch.device) -> Tensor:
    """Fixed sine and cosine positions of a square grid, as in MoCo v3 (Chen et al., 2021).

    Args:
        side: Cells per side.
        dim: Channels; divisible by 4. A quarter each codes sin x, cos x, sin y, cos y.
        device: Where to make them.

    Returns:
        Positions [side * side, dim] in float32, row by row.

    Raises:
        ValueError: `dim` is not divisible by 4.
    """
    if dim % 4:
        raise ValueError(f"two-dimensional sine positions need a hidden size divisible by 4, got {dim}")
    steps = torch.arange(side, device=device, dtype=torch.float32)
    rates = torch.exp(-math.log(10_000.0) / (dim // 4) * torch.arange(dim // 4, device=device))
    angles = steps[:, None] * rates  # [side, dim / 4]
    x = angles[None, :, :].expand(side, side, -1)
    y = angles[:, None, :].expand(side, side, -1)
    return torch.cat([x.sin(), x.cos(), y.sin(), y.cos()], dim=-1).flatten(0, 1)
