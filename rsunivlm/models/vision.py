"""Any timm backbone as a vision tower: pixels in; feature tokens out, a square grid of them.

For SigLIP the tower equals what LLaVA-style models use: the output of block 26 of 27, before the final norm.
The norm stays in the module because released checkpoints carry it, but it takes no part and is never trained.

Shapes: N images, H = W = image_size, S = prefix_tokens + tokens_per_side ** 2, C = hidden_size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMVisionConfig

if TYPE_CHECKING:
    from typing import Self


class TimmVisionTower(PreTrainedModel):
    """A timm model cut after block `feature_index`.

    Batch-norm statistics are frozen: training batches are small, and rows of a batch must not see each
    other.

    Raises:
        ValueError: timm does not know the model, or its features have other sizes than the configuration.
    """

    config_class = RSUniVLMVisionConfig
    main_input_name = "pixel_values"
    _no_split_modules = ["Block"]
    # timm's blocks choose their kernel themselves, whatever the language model is asked to use.
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def __init__(self, config: RSUniVLMVisionConfig, pretrained: bool = False) -> None:
        super().__init__(config)
        import timm  # here, not above: it imports torchvision, which asking for a configuration must not need

        if not timm.is_model(config.timm_model):
            raise ValueError(f"timm {timm.__version__} has no model named {config.timm_model!r}")
        self.backbone = timm.create_model(
            config.timm_model, pretrained=pretrained, num_classes=0, **(config.timm_args or {})
        )
        self.backbone.prune_intermediate_layers([config.feature_index], prune_norm=False, prune_head=True)
        final_norm = getattr(self.backbone, "norm", None)
        if final_norm is not None:
            final_norm.requires_grad_(False)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Leave the weights alone: timm initialises its own modules when it creates them."""

    def set_gradient_checkpointing(self, enable: bool) -> None:
        """Recompute blocks in the backward pass; timm brings its own mechanism."""
        self.backbone.set_grad_checkpointing(enable)

    def train(self, mode: bool = True) -> Self:
        """Switch mode, keeping batch-norm layers in evaluation mode."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Compute features.

        Args:
            pixel_values: Normalised images [N, 3, H, W].

        Returns:
            Features [N, S, C]: class tokens where the configuration wants them, then the grid, row by row
            from the upper left.

        Raises:
            ValueError: The features have another shape than the configuration says.
        """
        # Channels-last halves the time of convolutional towers on CPUs and costs the others one copy.
        pixels_NCHW = pixel_values.to(dtype=self.dtype, memory_format=torch.channels_last)
        wanted = self.config.prefix_tokens
        (features,) = self.backbone.forward_intermediates(
            pixels_NCHW,
            indices=[self.config.feature_index],
            norm=False,
            stop_early=True,
            output_fmt="NCHW",
            intermediates_only=True,
            # CNNs do not know the option.
            **({"return_prefix_tokens": True} if wanted else {}),
        )
        features_NChw, prefix_NPC = features if wanted else (features, None)
        side = self.config.tokens_per_side
        if features_NChw.shape[1:] != (self.config.hidden_size, side, side):
            raise ValueError(
                f"{self.config.timm_model} gives features of shape {tuple(features_NChw.shape[1:])}, the "
                f"configuration says hidden_size {self.config.hidden_size}, tokens_per_side {side}"
            )
        grid_NSC = features_NChw.flatten(2).transpose(1, 2)
        if prefix_NPC is None:
            return grid_NSC
        if prefix_NPC.shape[1] != wanted:
            raise ValueError(
                f"{self.config.timm_model} has {prefix_NPC.shape[1]} prefix tokens, the configuration says "
                f"prefix_tokens {wanted}"
            )
        return torch.cat([prefix_NPC, grid_NSC], dim=1)
