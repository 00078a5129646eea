"""LoRA: what is trained, and our merge against peft's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch.testing import assert_close

from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration
from rsunivlm.training.lora import (
    SplitFeedForward,
    add_lora,
    lora_config,
    merged_state,
    parted_modules,
    save_adapter,
)

OPTIONS = {"rank": 4, "alpha": 6, "dropout": 0.0}


def logits(model, num_experts: int = 1) -> torch.Tensor:
    ids = torch.randint(10, 300, (3, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model(ids, expert_ids=torch.tensor([0, 1, 2]) % num_experts).logits


def as_after_training(model) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_" in name and "vision_tower" not in name:
                parameter.normal_(std=0.1)


@pytest.mark.parametrize(
    ("targets", "num_experts", "dead_tower"),
    [("all", 1, False), ("all", 1, True), ("attention", 3, False)],
)
def test_the_merged_model_equals_the_trained_one_and_pefts_merge(
    make_tiny_model, targets: str, num_experts: int, dead_tower: bool
) -> None:
    base = make_tiny_model(num_experts=num_experts)
    names, before = set(base.state_dict()), logits(base, num_experts)
    model = make_tiny_model(num_experts=num_experts)
    add_lora(model, **OPTIONS, targets=targets, dead_tower=dead_tower)
    assert_close(logits(model, num_experts), before)  # B begins at zero
    as_after_training(model)
    trained = logits(model, num_experts)
    assert not torch.allclose(trained, before, atol=1e-3)

    state = merged_state(model.state_dict(), OPTIONS["alpha"] / OPTIONS["rank"], parted_modules(model))
    assert set(state) == names
    plain = RSUniVLMForConditionalGeneration(base.config).eval()
    plain.load_state_dict(state)
    assert_close(logits(plain, num_experts), trained, atol=1e-5, rtol=1e-4)
    pixels = torch.rand(1, 3, 32, 32)
    features = base.get_image_features(pixels).pooler_output
    assert_close(plain.get_image_features(pixels).pooler_output, features)

    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.merge()
    query = "model.language_model.layers.1.self_attn.q_proj"
    assert_close(state[f"{query}.weight"], model.state_dict()[f"{query}.base_layer.weight"])


def test_what_is_trained(make_tiny_model) -> None:
    model = make_tiny_model()
    add_lora(model, **OPTIONS, targets="all", dead_tower=True)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    lora = {name for name in trained if ".lora_" in name}
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in lora} == {
        *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    }
    assert len(lora) == 2 * 7 * 2  # layers, targets, A and B; none of the tower's
    assert trained - lora == {
        f"model.multi_modal_projector.linear_{n}.{kind}" for n in (1, 2) for kind in ("weight", "bias")
    }
    assert any(".lora_" in name for name, _ in model.model.vision_tower.named_parameters())


def test_peft_reads_the_adapter(make_tiny_model, tmp_path: Path) -> None:
    model = make_tiny_model()
    add_lora(model, **OPTIONS, targets="all", dead_tower=False)
    as_after_training(model)
    save_adapter(model.state_dict(), lora_config(model), tmp_path)
    base = make_tiny_model()
    for layer in base.model.language_model.layers:
        layer.mlp = SplitFeedForward(layer.mlp)
    loaded = PeftModel.from_pretrained(base, tmp_path)
    assert_close(logits(loaded), logits(model))


def test_the_papers_count_needs_a_vit(make_tiny_model) -> None:
    model = make_tiny_model()
    model.model.vision_tower.backbone.blocks = torch.nn.Sequential()
    with pytest.raises(ValueError, match="needs a ViT as vision tower"):
        add_lora(model, **OPTIONS, targets="all", dead_tower=True)
