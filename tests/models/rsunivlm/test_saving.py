"""What is saved is what is loaded: every kind of model, to the bit, and again to the same files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from rsunivlm.models.rsunivlm.upcycling import upcycle_low_rank, upcycle_token_routed

KINDS: dict[str, Callable] = {
    "dense": lambda make: make(),
    "experts": lambda make: make(num_experts=3),
    "low-rank experts": lambda make: upcycle_low_rank(make(), rank=4),
    "token-routed": lambda make: upcycle_token_routed(make(), num_experts=4, top_k=2, width=24),
    "newline": lambda make: make(image_newline=True),
    "untied head": lambda make: _untied(make(tie_word_embeddings=False)),
}


def _untied(model):
    assert model.lm_head.weight is not model.get_input_embeddings().weight
    return model


def save(model, processor, folder: Path, **options) -> dict[str, bytes]:
    model.save_pretrained(folder, **options)
    processor.save_pretrained(folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def load_and_save(source: Path, target: Path):
    """The loaded model, and the files that it is saved to."""
    model, info = AutoModelForImageTextToText.from_pretrained(source, dtype="auto", output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return model, save(model, AutoProcessor.from_pretrained(source), target, max_shard_size="100KB")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("kind", KINDS)
def test_round_trip(kind: str, dtype: torch.dtype, make_tiny_model, tiny_processor, tmp_path: Path) -> None:
    model = KINDS[kind](make_tiny_model).to(dtype)
    save(model, tiny_processor, tmp_path / "first", max_shard_size="100KB")
    loaded, first = load_and_save(tmp_path / "first", tmp_path / "second")
    want, got = model.state_dict(), loaded.state_dict()
    assert want.keys() == got.keys()
    for name, tensor in want.items():
        assert got[name].dtype == tensor.dtype == dtype or not tensor.is_floating_point(), name
        assert torch.equal(got[name], tensor), name
    _, second = load_and_save(tmp_path / "second", tmp_path / "third")
    assert sum(name.endswith(".safetensors") for name in second) > 1
    assert second == first


@pytest.mark.parametrize(
    "options",
    [
        {"attn_implementation": "eager"},
        {"attn_implementation": "sdpa"},
        {"device_map": "auto"},
    ],
    ids=str,
)
def test_load_options_and_ways_to_generate(tiny_checkpoint: Path, options: dict) -> None:
    if "device_map" in options:
        pytest.importorskip("accelerate", reason="device_map needs accelerate")
    processor = AutoProcessor.from_pretrained(tiny_checkpoint)
    content = [
        {"type": "image", "image": Image.effect_noise((40, 40), 80)},
        {"type": "text", "text": "[VG] a"},
    ]
    chats = [[{"role": "user", "content": content}], [{"role": "user", "content": "[SEG] the red vehicle"}]]
    inputs = processor.apply_chat_template(
        chats, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    model = AutoModelForImageTextToText.from_pretrained(tiny_checkpoint).eval()
    limits = {"max_new_tokens": 8, "do_sample": False}
    plain = model.generate(**inputs, **limits)
    beams = model.generate(**inputs, **limits, num_beams=3)
    other = AutoModelForImageTextToText.from_pretrained(tiny_checkpoint, **options).eval()
    inputs = inputs.to(other.device)
    assert torch.equal(other.generate(**inputs, **limits).cpu(), plain)
    assert torch.equal(other.generate(**inputs, **limits, cache_implementation="static").cpu(), plain)
    assert torch.equal(other.generate(**inputs, **limits, num_beams=3).cpu(), beams)
    assert getattr(other.config, "quantization_config", None) is None
