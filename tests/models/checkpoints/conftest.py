"""A tiny model of the published architecture: SigLIP, connector, Qwen2 with experts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

TINY_SIGLIP = {
    "timm_model": "vit_so400m_patch14_siglip_384",
    "timm_args": {
        "act_layer": "gelu_tanh",
        "img_size": 32,
        "embed_dim": 32,
        "depth": 3,
        "num_heads": 2,
        "mlp_ratio": 2.5,
    },
    "feature_index": 1,  # of three blocks, as 26 of 27
    "image_size": 32,  # two patches of 14 and a rest
    "hidden_size": 32,
    "tokens_per_side": 2,
}


@pytest.fixture
def make_siglip_checkpoint(make_tiny_model, tiny_processor, tmp_path: Path) -> Callable:
    """Factory of a model and its folder; keywords go to `RSUniVLMConfig` and `prepare` changes the model."""
    import torch

    def make(prepare: Callable | None = None, num_experts: int = 3, **fields) -> tuple:
        fields.setdefault("vision_config", TINY_SIGLIP)
        model = make_tiny_model(num_experts=num_experts, **fields)
        with torch.no_grad():  # timm begins with tiny positions; a wrong order must show
            for parameter in model.model.vision_tower.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        if prepare is not None:
            prepare(model)
        folder = tmp_path / "ours"
        model.save_pretrained(folder)
        tiny_processor.save_pretrained(folder)
        return model, folder

    return make
