"""InstructBLIP's encoder in ours, against transformers' own model."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close
from transformers import InstructBlipConfig, InstructBlipForConditionalGeneration

from rsunivlm.models.checkpoints.instructblip import load_encoder


@pytest.fixture
def make_stock(make_tiny_rs_moe, tmp_path: Path):
    """Factory of a random InstructBLIP as small as our tiny model, and the folder it is saved in."""
    ours, _ = make_tiny_rs_moe()

    def make(channels: int = 32, text_size: int = 64):
        torch.manual_seed(7)
        vision = {"num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
        config = InstructBlipConfig(
            vision_config=vision | {"hidden_size": channels, "intermediate_size": 64},
            qformer_config=ours.config.qformer_config.to_dict() | {"encoder_hidden_size": channels},
            text_config=ours.config.text_config.to_dict() | {"hidden_size": text_size},
            num_query_tokens=4,
        )
        stock = InstructBlipForConditionalGeneration(config).eval()
        with torch.no_grad():
            stock.query_tokens.normal_()
            stock.vision_model.post_layernorm.weight.normal_()
        stock.save_pretrained(tmp_path / "instructblip", max_shard_size="200KB")
        return stock, tmp_path / "instructblip"

    return make


@torch.no_grad()
def test_our_bridge_gives_what_instructblip_gives(make_stock, make_tiny_rs_moe) -> None:
    stock, folder = make_stock()
    model, _ = make_tiny_rs_moe()
    result = load_encoder(model, folder)
    assert not result.fresh
    pixels = torch.randn(2, 3, 28, 28)
    ids = torch.randint(10, 300, (2, 6))
    mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
    theirs = stock.get_image_features(pixels, qformer_input_ids=ids, qformer_attention_mask=mask)
    # Its vision model's output before the norm that is ours; the stock norm has another epsilon.
    hidden = stock.vision_model(pixels, output_hidden_states=True).hidden_states[-1]
    model.bridge.ln_vision.eps = stock.vision_model.post_layernorm.eps
    assert_close(model.bridge(hidden, ids, mask)[1], theirs.pooler_output, atol=1e-5, rtol=1e-5)


def test_behind_another_tower_only_keys_and_values_begin_fresh(make_stock, make_tiny_rs_moe) -> None:
    _, folder = make_stock(channels=48, text_size=32)
    model, _ = make_tiny_rs_moe()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    result = load_encoder(model, folder)
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    qformer = {name for name in result.fresh if "qformer" in name}
    assert {re.sub(r".*attention\.", "", name) for name in qformer} == {
        "key.weight", "key.bias", "value.weight", "value.bias"
    }  # fmt: skip
    assert all(".crossattention." in name for name in qformer)
    assert set(result.fresh) - qformer == {
        f"bridge.{part}.{kind}" for part in ("ln_vision", "llm_proj") for kind in ("weight", "bias")
    }
    assert changed <= set(result.loaded)
    assert "bridge.query_tokens" in changed


def test_what_is_no_instructblip_is_refused(make_stock, make_tiny_rs_moe, tmp_path: Path) -> None:
    _, folder = make_stock()
    model, _ = make_tiny_rs_moe()
    model.save_pretrained(tmp_path / "ours")
    with pytest.raises(ValueError, match=r"lacks \d+ tensors of InstructBLIP's encoder, e\.g\. query_tokens"):
        load_encoder(model, tmp_path / "ours")
    other, _ = make_tiny_rs_moe(num_query_tokens=3)
    with pytest.raises(ValueError, match=r"query_tokens has shape \(1, 4, 64\), this model wants"):
        load_encoder(other, folder)
