"""Rows to the letter, and what the processor refuses."""

from __future__ import annotations

import copy

import pytest
from PIL import Image

from rsunivlm.models.rs_moe.experts import NO_EXPERT
from rsunivlm.models.rs_moe.processing_rs_moe import RSMoEProcessor


def test_a_row_to_the_letter(make_tiny_rs_moe) -> None:
    _, processor = make_tiny_rs_moe()
    decode = processor.tokenizer.decode
    row = processor.encode_row("name the ships", "two ships", instruction="describe it", expert=1)
    assert decode(row.input_ids) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
        + "<image>" * 6  # four queries and two soft tokens
        + "\nname the ships<|im_end|>\n<|im_start|>assistant\ntwo ships<|im_end|>"
    )
    assert decode([label for label in row.labels if label != -100]) == "two ships<|im_end|>"
    assert all(label in (-100, token) for label, token in zip(row.labels, row.input_ids, strict=True))
    assert decode(row.qformer_ids) == "name the ships"
    assert decode(row.instruction_ids) == "describe it"
    stage_one = processor.encode_row("name the ships", instruction="describe it")
    assert decode(stage_one.input_ids).count("<image>") == 4
    assert decode(stage_one.qformer_ids) == "describe it"
    assert stage_one.expert_id == NO_EXPERT


def test_chat_template_asks_the_model_of_stage_one(make_tiny_rs_moe) -> None:
    _, processor = make_tiny_rs_moe()
    picture = Image.new("RGB", (40, 30), "red")
    content = [{"type": "image", "image": picture}, {"type": "text", "text": "[VQA] is it red?"}]
    batch = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True,
    )  # fmt: skip
    assert batch["expert_ids"].tolist() == [NO_EXPERT]
    assert processor.tokenizer.decode(batch["qformer_input_ids"][0]) == "is it red?"
    assert set(batch) == set(RSMoEProcessor.model_input_names)


def test_what_does_not_fit_is_refused(make_tiny_rs_moe) -> None:
    model, processor = make_tiny_rs_moe()
    with pytest.raises(ValueError, match="the instruction is empty"):
        processor.encode_row("a", instruction=" ")
    with pytest.raises(ValueError, match="the Q-Former reads 128 tokens, this text has"):
        processor.encode_row("a", instruction="zebra " * 200)
    with pytest.raises(ValueError, match="RS-MoE looks at one image"):
        processor(images=[Image.new("RGB", (8, 8))] * 2, text="<image><image>what changed?")
    tokenizer = copy.deepcopy(processor.tokenizer)
    tokenizer.pad_token = None
    with pytest.raises(ValueError, match=r"tokenizer of the language model \(.*\) has no pad token; set one"):
        RSMoEProcessor.for_config(model.config, tokenizer)
    with pytest.raises(ValueError, match=r"tokenizer of the Q-Former \(.*\) has no pad token"):
        RSMoEProcessor.for_config(model.config, processor.tokenizer, tokenizer)
    model.config.qformer_config.vocab_size = 10
    with pytest.raises(ValueError, match=r"Q-Former's tokenizer has \d+ tokens, its vocabulary .* 10"):
        RSMoEProcessor.for_config(model.config, processor.tokenizer)
