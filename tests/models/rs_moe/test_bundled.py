"""The bundled RS-MoE, playground/checkpoints/rsmoe-nano: its size, and its adapters against copies."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from rsunivlm.models.rs_moe.modeling_rs_moe import RSMoEForConditionalGeneration
from rsunivlm.models.rs_moe.processing_rs_moe import RSMoEProcessor
from rsunivlm.models.rs_moe.router import expert_prompts
from rsunivlm.models.rs_moe.upcycling import as_copies

ROOT = Path(__file__).resolve().parents[3]
CHECKPOINT = ROOT / "playground/checkpoints/rsmoe-nano"
PICTURES = ROOT / "playground/benchmarks/mini/images/000"
INSTRUCTION = "Describe this image."


@pytest.fixture(scope="module")
def model() -> RSMoEForConditionalGeneration:
    return RSMoEForConditionalGeneration.from_pretrained(CHECKPOINT, dtype=torch.float32).eval()


def test_it_stays_within_ten_megabytes() -> None:
    assert sum(path.stat().st_size for path in CHECKPOINT.rglob("*") if path.is_file()) <= 10_000_000


@torch.inference_mode()
def test_experts_in_one_batch_equal_copies_one_by_one(model: RSMoEForConditionalGeneration) -> None:
    processor = RSMoEProcessor.from_pretrained(CHECKPOINT)
    copies = as_copies(model)
    prompts = expert_prompts(model.config, INSTRUCTION)
    rows = [
        processor.encode_row(prompt, instruction=INSTRUCTION, expert=expert)
        for expert, prompt in enumerate(prompts)
    ]
    for path in sorted(PICTURES.iterdir())[:5]:
        pixels = processor.preprocess_images([Image.open(path).convert("RGB")])
        index = torch.zeros(len(rows), dtype=torch.long)
        seen = {"pixel_values": pixels, "image_index": index}
        together = model(**processor.batch_rows(rows), **seen).logits
        for expert, row in enumerate(rows):
            seen["image_index"] = index[:1]
            alone = copies(**processor.batch_rows([row]), **seen).logits[0]
            mine = together[expert, -len(alone) :]  # rows are padded on the left
            assert (mine - alone).abs().max() <= 1e-5 * alone.abs().max()  # float32 keeps seven digits
            assert (mine - together[expert - 1, -len(alone) :]).abs().max() > 1  # experts differ
