"""RS-MoE built of pretrained parts: the language model is taken over with its configuration, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen2Config

from rsunivlm.models.rs_moe.modeling_rs_moe import RSMoEForConditionalGeneration
from rsunivlm.training.rs_moe_parts import load_parts, text_fields


@pytest.fixture
def language_model(make_tiny_rs_moe, tmp_path: Path) -> Path:
    """A causal language model of the tiny model's size, as published."""
    torch.manual_seed(7)
    config = make_tiny_rs_moe(experts=[])[0].config.text_config
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "lm")
    return tmp_path / "lm"


def test_the_language_model_is_the_published_one(make_tiny_rs_moe, language_model: Path) -> None:
    fields = text_fields({"weights": str(language_model), "max_position_embeddings": 99})
    assert (fields["model_type"], fields["max_position_embeddings"]) == ("qwen2", 99)
    assert "weights" not in fields
    published = AutoModelForCausalLM.from_pretrained(language_model).eval()
    ids = torch.randint(10, 300, (2, 7), generator=torch.Generator().manual_seed(0))
    for experts in ([], None):  # also where adapters stand in its layers
        model, _ = make_tiny_rs_moe(experts=experts)
        load_parts(model, {"text": {"weights": str(language_model)}})
        with torch.no_grad():
            assert model(input_ids=ids).logits.equal(published(ids).logits)


def test_what_does_not_fit_is_named(make_tiny_rs_moe, language_model: Path, tmp_path: Path) -> None:
    model: RSMoEForConditionalGeneration = make_tiny_rs_moe(experts=[])[0]
    small = Qwen2Config(
        vocab_size=300, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    AutoModelForCausalLM.from_config(small).save_pretrained(tmp_path / "small")
    with pytest.raises(ValueError, match=r"model.text.weights: .*size mismatch"):
        load_parts(model, {"text": {"weights": str(tmp_path / "small")}})
    (language_model / "config.json").write_text("{}")
    for source in (tmp_path / "nowhere", language_model):
        with pytest.raises(ValueError, match=r"model.text.weights: "):
            text_fields({"weights": str(source)})
