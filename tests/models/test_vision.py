"""The timm tower against stock SigLIP on the same random weights, and towers of other kinds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from transformers import SiglipVisionConfig, SiglipVisionModel

sys.path.insert(0, str(Path(__file__).resolve().parent / "checkpoints"))  # for `foreign_checkpoints`

from foreign_checkpoints import siglip_to_timm

from rsunivlm.models.connector import sine_positions_2d
from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMVisionConfig
from rsunivlm.models.vision import TimmVisionTower


def test_features_equal_stock_siglip_hidden_states() -> None:
    torch.manual_seed(0)
    # 62 = 4 x 14 + 6: like 384, not a multiple of the patch, so that the cut border is tested too.
    stock = SiglipVisionModel(
        SiglipVisionConfig(
            hidden_size=64,
            intermediate_size=172,
            num_hidden_layers=5,
            num_attention_heads=4,
            image_size=62,
            patch_size=14,
        )
    ).eval()
    with torch.no_grad():
        for parameter in stock.parameters():
            parameter.normal_(std=0.2)
    tower = TimmVisionTower(
        RSUniVLMVisionConfig(
            timm_args={
                "img_size": 62,
                "embed_dim": 64,
                "depth": 5,
                "num_heads": 4,
                "mlp_ratio": 172 / 64,
                "act_layer": "gelu_tanh",
            },
            feature_index=3,
            image_size=62,
            hidden_size=64,
            tokens_per_side=4,
        )
    ).eval()
    assert len(tower.backbone.blocks) == 4
    tower.backbone.load_state_dict(siglip_to_timm(stock.state_dict(), 4))
    pixels = torch.randn(2, 3, 62, 62)
    with torch.no_grad():
        reference = stock(pixels, output_hidden_states=True).hidden_states[-2]
        features = tower(pixels)
    assert features.shape == (2, 16, 64)
    torch.testing.assert_close(features, reference, atol=1e-4, rtol=1e-4)


@pytest.mark.full_size
def test_published_tower_has_26_blocks_a_tanh_gelu_and_an_untrained_norm() -> None:
    with torch.device("meta"):
        tower = TimmVisionTower(RSUniVLMVisionConfig())
    assert sum(p.numel() for p in tower.parameters()) == 397_747_744
    assert len(tower.backbone.blocks) == 26
    assert "tanh" in str(tower.backbone.blocks[0].mlp.act).lower()
    assert {n for n, p in tower.named_parameters() if not p.requires_grad} == {
        "backbone.norm.weight",
        "backbone.norm.bias",
    }


def test_convolutional_tower_keeps_its_batch_statistics() -> None:
    tower = TimmVisionTower(
        RSUniVLMVisionConfig(
            timm_model="tf_efficientnet_lite0",
            feature_index=3,
            image_size=64,
            hidden_size=112,
            tokens_per_side=4,
        )
    ).train()
    before = {name: buffer.clone() for name, buffer in tower.named_buffers()}
    pixels = torch.randn(3, 3, 64, 64)
    together, alone = tower(pixels), tower(pixels[1:2])
    assert together.shape == (3, 16, 112)
    torch.testing.assert_close(together[1:2], alone, atol=1e-4, rtol=1e-4)  # rows do not see each other
    assert all(torch.equal(buffer, before[name]) for name, buffer in tower.named_buffers())


def test_features_come_row_by_row() -> None:
    torch.manual_seed(0)
    tower = TimmVisionTower(
        RSUniVLMVisionConfig(
            timm_model="tf_efficientnet_lite0",
            feature_index=3,
            image_size=128,
            hidden_size=112,
            tokens_per_side=8,
        )
    ).eval()
    picture = torch.zeros(1, 3, 128, 128)
    changed = picture.clone()
    changed[..., 4:12, 100:108] = 3.0  # upper right
    with torch.no_grad():
        difference = (tower(changed) - tower(picture)).abs().sum(-1).reshape(8, 8)
    row, column = divmod(int(difference.argmax()), 8)
    assert row < 4  # the quarter: untrained layers move the largest change by a row or two
    assert column >= 4


def test_class_token_stands_before_the_grid() -> None:
    torch.manual_seed(0)
    config = RSUniVLMVisionConfig(
        timm_model="eva02_tiny_patch14_224",
        timm_args={"img_size": 28, "embed_dim": 32, "depth": 3, "num_heads": 2},
        feature_index=1,
        image_size=28,
        hidden_size=32,
        tokens_per_side=2,
        prefix_tokens=1,
    )
    tower = TimmVisionTower(config).eval()
    pixels = torch.randn(2, 3, 28, 28)
    with torch.no_grad():
        features = tower(pixels)
        backbone = tower.backbone
        x, rope = backbone._pos_embed(backbone.patch_embed(pixels))
        for block in backbone.blocks[:2]:
            x = block(x, rope=rope)
    torch.testing.assert_close(features, x)
    config.prefix_tokens = 2
    with pytest.raises(ValueError, match="has 1 prefix tokens, the configuration says prefix_tokens 2"):
        tower(pixels)


def test_wrong_sizes_and_names_are_refused() -> None:
    with pytest.raises(ValueError, match="no model named 'vit_of_dreams'"):
        TimmVisionTower(RSUniVLMVisionConfig(timm_model="vit_of_dreams"))
    tower = TimmVisionTower(
        RSUniVLMVisionConfig(
            timm_model="tf_efficientnet_lite0",
            feature_index=3,
            image_size=64,
            hidden_size=96,
            tokens_per_side=4,
        )
    )
    with pytest.raises(ValueError, match=r"shape \(112, 4, 4\).*hidden_size 96"):
        tower(torch.zeros(1, 3, 64, 64))


def test_sine_positions_by_hand() -> None:
    positions = sine_positions_2d(3, 8, torch.device("cpu"))
    assert positions.shape == (9, 8)
    x, y = 2.0, 1.0  # row 1, column 2
    angles = torch.tensor([1.0, 0.01])
    expected = torch.cat([(x * angles).sin(), (x * angles).cos(), (y * angles).sin(), (y * angles).cos()])
    torch.testing.assert_close(positions[1 * 3 + 2], expected)
    with pytest.raises(ValueError, match="divisible by 4"):
        sine_positions_2d(3, 6, torch.device("cpu"))
