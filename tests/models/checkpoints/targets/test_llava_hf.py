"""Exported experts in stock LLaVA: the same tokens, pixels, logits and answers as ours."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoProcessor, LlavaForConditionalGeneration

from rsunivlm.models.checkpoints.convert import convert
from rsunivlm.models.checkpoints.export import export_checkpoint
from rsunivlm.models.rsunivlm.upcycling import upcycle_low_rank
from rsunivlm.tasks import Granularity

PROMPTS = [("[VG] the red vehicle near the airplane", 1), ("[CCD] what changed?", 2)]


def pictures(count: int) -> list[Image.Image]:
    return [Image.radial_gradient("L").resize((40 + 9 * i, 30)).convert("RGB") for i in range(count)]


def chat(prompt: str, images: list[Image.Image]) -> list[dict]:
    content = [{"type": "image", "image": image} for image in images]
    return [{"role": "user", "content": [*content, {"type": "text", "text": prompt}]}]


def low_rank(model) -> None:
    upcycle_low_rank(model, 4)
    with torch.no_grad():
        for layer in model.model.language_model.layers:
            for change in layer.mlp.low_rank:
                change.normal_(std=0.2)


@pytest.mark.parametrize(
    ("prepare", "fields"),
    [(None, {}), (None, {"tie_word_embeddings": False}), (low_rank, {"num_experts": 1})],
    ids=["full", "untied", "low-rank"],
)
def test_stock_llava_gives_our_logits_and_tokens(
    make_siglip_checkpoint, tiny_processor, tmp_path, prepare, fields
) -> None:
    model, folder = make_siglip_checkpoint(prepare, **fields)
    export_checkpoint(folder, tmp_path / "out", granularity="all", format="llava-hf")
    rows = [tiny_processor.encode_conversation([(prompt, None)], count)[0] for prompt, count in PROMPTS]
    images = [pictures(count) for _, count in PROMPTS]
    inputs = tiny_processor.pad_left(rows)
    inputs["pixel_values"] = tiny_processor.preprocess_images([image for row in images for image in row])
    options = {"max_new_tokens": 8, "do_sample": False}
    for level in Granularity:
        target = tmp_path / "out" / level.name.lower()
        stock, info = LlavaForConditionalGeneration.from_pretrained(target, output_loading_info=True)
        assert not any(info.values()), info
        processor = AutoProcessor.from_pretrained(target, backend="pil")
        theirs = processor.apply_chat_template(
            [chat(prompt, row) for (prompt, _), row in zip(PROMPTS, images, strict=True)],
            tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True,
            processor_kwargs={"padding": True},
        )  # fmt: skip
        assert set(theirs) == set(inputs)
        for name, values in inputs.items():
            assert torch.equal(theirs[name], values), (name, theirs[name], values)
        experts = torch.full((len(rows),), int(level))
        with torch.no_grad():
            ours_BLV = model(**inputs, expert_ids=experts).logits
            theirs_BLV = stock(**theirs).logits
        real_BL = inputs["attention_mask"].bool()
        torch.testing.assert_close(theirs_BLV[real_BL], ours_BLV[real_BL], atol=1e-4, rtol=1e-4)
        answers = model.generate(**inputs, expert_ids=experts, **options)
        assert torch.equal(stock.generate(**theirs, **options), answers)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_import_gives_back_every_bit(make_siglip_checkpoint, tmp_path, dtype: torch.dtype) -> None:
    _, folder = make_siglip_checkpoint(lambda model: model.to(dtype))
    for level in Granularity:
        name = level.name.lower()
        dense, stock = (
            export_checkpoint(folder, tmp_path / format / name, granularity=name, format=format)[0]
            for format in ("safetensors", "llava-hf")
        )
        convert([stock], tmp_path / "back" / name)
        expected = load_file(dense / "model.safetensors")
        tensors = load_file(tmp_path / "back" / name / "model.safetensors")
        assert tensors.keys() == expected.keys()
        for key, tensor in tensors.items():
            assert tensor.dtype == dtype
            assert torch.equal(tensor, expected[key]), key
