"""An exported language model against ours: stock Qwen2 fed with our prompt embeddings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer, Qwen2ForCausalLM

from rsunivlm.models.checkpoints.export import export_checkpoint
from rsunivlm.tasks import Granularity


@pytest.mark.parametrize("tied", [True, False])
def test_stock_qwen2_gives_our_logits_and_tokens(
    make_tiny_model, tiny_processor, tmp_path: Path, caplog, tied: bool
) -> None:
    model = make_tiny_model(num_experts=3, tie_word_embeddings=tied)
    model.save_pretrained(tmp_path / "ours")
    tiny_processor.save_pretrained(tmp_path / "ours")
    folders = export_checkpoint(tmp_path / "ours", tmp_path / "out", granularity="all", format="qwen2")
    assert [folder.name for folder in folders] == ["image", "region", "pixel"]

    ids, _ = tiny_processor.encode_conversation([("[VG] the red vehicle", None)], 1)
    ids_BL, pixels = torch.tensor([ids]), torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        image_SD = model.get_image_features(pixels).pooler_output[0]
        embeds_BLD = model.get_input_embeddings()(ids_BL)
    embeds_BLD[ids_BL == tiny_processor.image_token_id] = image_SD
    for level, folder in zip(Granularity, folders, strict=True):
        stock, info = Qwen2ForCausalLM.from_pretrained(folder, output_loading_info=True)
        assert not any(info.values())
        expert = torch.tensor([int(level)])
        with torch.no_grad():
            ours = model(input_ids=ids_BL, pixel_values=pixels, expert_ids=expert)
            theirs = stock(inputs_embeds=embeds_BLD)
        torch.testing.assert_close(theirs.logits, ours.logits, atol=1e-5, rtol=1e-5)
        answer = model.generate(
            ids_BL, pixel_values=pixels, expert_ids=expert, max_new_tokens=8, do_sample=False
        )
        assert stock.generate(inputs_embeds=embeds_BLD, max_new_tokens=8).tolist() == [
            answer[0, len(ids) :].tolist()
        ]
        chat = AutoTokenizer.from_pretrained(folder).apply_chat_template(
            [{"role": "user", "content": "<image>\n[VG] the red vehicle"}],
            add_generation_prompt=True,
            tokenize=False,
        )
        assert tiny_processor(text=chat, images=Image.new("RGB", (8, 8)))["input_ids"].tolist() == [ids]
    # The tiny tokenizer has rules of its own for splitting text, which stock code replaces by Qwen2's.
    assert "send token" in caplog.text
