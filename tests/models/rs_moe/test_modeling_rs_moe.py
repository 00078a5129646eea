"""The model against stock modules put together by hand, and its own promises: mixed rows, copies, stage I."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.testing import assert_close
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    Qwen2ForCausalLM,
)

from rsunivlm.models.rs_moe.experts import NO_EXPERT, add_adapters
from rsunivlm.models.rs_moe.modeling_rs_moe import RSMoEForConditionalGeneration
from rsunivlm.models.rs_moe.processing_rs_moe import RSMoEProcessor
from rsunivlm.models.rs_moe.router import expert_prompts
from rsunivlm.models.rs_moe.upcycling import add_experts, as_copies, stage_two

INSTRUCTION = "describe the red vehicle"
GREEDY = {"max_new_tokens": 12, "do_sample": False}


def batch_of(model, processor, instruction: str = INSTRUCTION) -> dict[str, torch.Tensor]:
    """One row per expert and one of stage I, all about one image."""
    prompts = expert_prompts(model.config, instruction)
    rows = [
        processor.encode_row(prompt, instruction=instruction, expert=expert)
        for expert, prompt in enumerate(prompts)
    ]
    rows.append(processor.encode_row("is there a ship?", instruction="is there a ship?"))
    pixels = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    index = torch.zeros(len(rows), dtype=torch.long)
    return processor.batch_rows(rows) | {"pixel_values": pixels, "image_index": index}


def stock_instructblip(model) -> InstructBlipForConditionalGeneration:
    """transformers' own model with the weights of our bridge; its vision model takes no part."""
    config = InstructBlipConfig(
        vision_config={"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28},
        qformer_config=model.config.qformer_config.to_dict(),
        text_config=model.config.text_config.to_dict(),
        num_query_tokens=model.config.num_query_tokens,
    )
    stock = InstructBlipForConditionalGeneration(config).eval()
    stock.qformer.load_state_dict(model.bridge.qformer.state_dict())
    stock.language_projection.load_state_dict(model.bridge.llm_proj.state_dict())
    stock.query_tokens = model.bridge.query_tokens
    return stock


@torch.no_grad()
def test_bridge_equals_stock_instructblip(make_tiny_rs_moe) -> None:
    model, processor = make_tiny_rs_moe()
    texts = processor.batch_texts(
        [
            processor.encode_row(words, instruction=words)
            for words in ("a ship", "is there a red ship near it")
        ]
    )
    ids, mask = texts["qformer_input_ids"], texts["qformer_attention_mask"]
    features = model.get_vision_features(torch.randn(2, 3, 32, 32))
    stock = stock_instructblip(model)
    normed = model.bridge.ln_vision(features)
    stock.vision_model.forward = lambda **_: {"last_hidden_state": normed}
    theirs = stock.get_image_features(torch.empty(2), qformer_input_ids=ids, qformer_attention_mask=mask)
    assert_close(model.bridge(features, ids, mask)[1], theirs.pooler_output)


@torch.no_grad()
def test_one_expert_without_router_is_a_plain_qformer_captioner(make_tiny_rs_moe) -> None:
    model, processor = make_tiny_rs_moe(experts=["theme"], router="none")
    row = processor.encode_row(INSTRUCTION, instruction=INSTRUCTION, expert=0)
    pixels = torch.randn(1, 3, 32, 32)
    batch = processor.batch_rows([row])
    ours = model.generate(**batch, pixel_values=pixels, **GREEDY)[0, len(row.input_ids) :]

    # The same, of modules that know nothing of us.
    bridge, backbone = model.bridge, model.vision_tower.backbone
    x = backbone.norm_pre(backbone.patch_drop(backbone._pos_embed(backbone.patch_embed(pixels))))
    for block in backbone.blocks:
        x = block(x)
    words = torch.tensor([processor.tokenizer.encode(INSTRUCTION)])
    seen = bridge.qformer(
        input_ids=words,
        attention_mask=torch.ones(1, 4 + words.shape[1], dtype=torch.long),
        query_embeds=bridge.query_tokens,
        encoder_hidden_states=bridge.ln_vision(x),
    ).last_hidden_state[:, :4]
    language_model = Qwen2ForCausalLM(model.config.text_config).eval()
    adapted = model.language_model.state_dict()
    plain = {name: tensor for name, tensor in adapted.items() if ".adapter_" not in name}
    for name in plain:
        layer = name.removesuffix("weight")
        if f"{layer}adapter_a_theme" in adapted:
            a, b = adapted[f"{layer}adapter_a_theme"], adapted[f"{layer}adapter_b_theme"]
            plain[name] = plain[name] + 2.0 * b @ a
    language_model.load_state_dict(plain)
    before, after = (
        torch.tensor([processor.tokenizer.encode(text)])
        for text in (
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
            f"\n{INSTRUCTION}<|im_end|>\n<|im_start|>assistant\n",
        )
    )
    embed = language_model.get_input_embeddings()
    embeds = torch.cat([embed(before), bridge.llm_proj(seen), embed(after)], dim=1)
    mask = torch.ones(embeds.shape[:2], dtype=torch.long)
    theirs = language_model.generate(inputs_embeds=embeds, attention_mask=mask, **GREEDY)[0]
    assert ours.tolist() == theirs.tolist()
    assert len(set(ours.tolist())) > 3  # not one word over and over


@torch.no_grad()
def test_experts_together_are_experts_one_by_one(make_tiny_rs_moe) -> None:
    model, processor = make_tiny_rs_moe()
    batch = batch_of(model, processor)
    together = model.generate(**batch, **GREEDY)[:, batch["input_ids"].shape[1] :]
    assert len({tuple(row) for row in together.tolist()}) == 4
    for row in range(4):
        kept = batch["attention_mask"][row].bool()
        single = {name: tensor[row : row + 1] for name, tensor in batch.items() if name != "pixel_values"}
        single |= {name: single[name][:, kept] for name in ("input_ids", "attention_mask")}
        alone = model.generate(**single, pixel_values=batch["pixel_values"], **GREEDY)
        assert together[row].tolist() == alone[0, int(kept.sum()) :].tolist()


@torch.no_grad()
def test_adapters_equal_copies(make_tiny_rs_moe) -> None:
    model, processor = make_tiny_rs_moe()
    copies = as_copies(model.double())  # so that only a real difference shows
    batch = batch_of(model, processor)
    pixels = {"pixel_values": batch["pixel_values"].double()}
    together = model(**batch).logits
    for expert in range(3):
        single = {name: tensor[expert : expert + 1] for name, tensor in batch.items()} | pixels
        assert_close(copies(**single).logits, together[expert : expert + 1], atol=1e-9, rtol=1e-9)
    with pytest.raises(ValueError, match=r"a pass has rows of one, got \[-1, 0, 1, 2\]"):
        copies(**batch)


@torch.no_grad()
def test_new_experts_answer_as_stage_one_to_the_last_bit(make_tiny_rs_moe) -> None:
    model, processor = make_tiny_rs_moe(experts=[])
    batch = batch_of(model, processor)
    before = model(**batch).logits
    add_experts(model, stage_two(model.config, router="template", adapter_rank=4))
    assert model.config.experts == ["theme", "objects", "relations"]
    for expert in (NO_EXPERT, 0, 2):
        assert torch.equal(model(**batch | {"expert_ids": torch.tensor([expert])}).logits, before)
    with pytest.raises(ValueError, match="has experts already: theme, objects, relations"):
        add_experts(model)


@torch.no_grad()
def test_stage_one_rows_ignore_experts_and_router(make_tiny_rs_moe) -> None:
    model, processor = make_tiny_rs_moe()
    plain, _ = make_tiny_rs_moe(experts=[])
    plain.load_state_dict(
        {name: tensor for name, tensor in model.state_dict().items() if name in plain.state_dict()}
    )
    batch = {name: tensor[-1:] for name, tensor in batch_of(model, processor).items()}
    assert torch.equal(model(**batch).logits, plain(**batch | {"expert_ids": None}).logits)


def test_soft_tokens_depend_on_image_instruction_and_expert(make_tiny_rs_moe) -> None:
    model, processor = make_tiny_rs_moe(qformer_text="instruction")
    with torch.no_grad():
        model.router.out_weight.mul_(20)

    def soft(pixels: torch.Tensor, instruction: str) -> torch.Tensor:
        taken = []
        handle = model.router.register_forward_hook(lambda *call: taken.append(call[2]))
        model(**batch_of(model, processor, instruction) | {"pixel_values": pixels})
        handle.remove()
        return taken[0]

    first = torch.randn(1, 3, 32, 32)
    base = soft(first, INSTRUCTION)
    assert base.shape == (4, 2, 64)
    assert not torch.allclose(base[0], base[1], atol=1e-3)
    assert not torch.allclose(base[0], soft(-first, INSTRUCTION)[0], atol=1e-3)
    assert not torch.allclose(base[0], soft(first, "count the ships")[0], atol=1e-3)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_every_expert_gets_its_own_gradient(make_tiny_rs_moe, checkpointing: bool) -> None:
    model, processor = make_tiny_rs_moe()
    model.requires_grad_(False)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".adapter_" in name or name.startswith("router."))
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.train()
    batch = batch_of(model, processor)
    chosen = {name: tensor[:1] for name, tensor in batch.items()}  # a batch of the first expert only
    labels = chosen["input_ids"].clone()
    model(**chosen, labels=labels, loss_positions=torch.tensor([50, 51])).loss.backward()
    largest = {
        name: float(parameter.grad.abs().max())
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    assert all(value > 0 for name, value in largest.items() if name.endswith("_theme"))
    assert all(value == 0 for name, value in largest.items() if name.endswith(("_objects", "_relations")))


def test_loss_equals_the_plain_one(make_tiny_rs_moe) -> None:
    model, processor = make_tiny_rs_moe()
    batch = batch_of(model, processor)
    labels = torch.full_like(batch["input_ids"], -100)
    labels[:, -6:] = batch["input_ids"][:, -6:]
    positions = (labels.flatten()[1:] != -100).nonzero().flatten()
    with torch.no_grad():
        plain = model(**batch, labels=labels)
        kept = model(**batch, labels=labels, loss_positions=positions)
        summed = model(**batch, labels=labels, loss_positions=positions, num_items_in_batch=1)
    assert_close(kept.loss, plain.loss)
    assert_close(kept.token_losses.mean(), plain.loss)
    assert_close(summed.loss, plain.loss * 24)


def test_a_checkpoint_comes_back_by_the_auto_classes(make_tiny_rs_moe, tmp_path) -> None:
    model, processor = make_tiny_rs_moe(experts=["theme", "objects"])
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert isinstance(loaded, RSMoEForConditionalGeneration)
    assert list(loaded.config.subtasks) == ["theme", "objects"]  # in the order of their ids
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in model.state_dict().items())
    again = AutoProcessor.from_pretrained(tmp_path)
    assert isinstance(again, RSMoEProcessor)
    one, two = (part.encode_row("a", "b", instruction="c", expert=1) for part in (processor, again))
    assert one == two


def test_what_does_not_fit_is_refused(make_tiny_rs_moe) -> None:
    model, processor = make_tiny_rs_moe()
    batch = batch_of(model, processor)
    with pytest.raises(ValueError, match="4 rows look at 1 images; a row looks at one image"):
        model(**batch | {"image_index": None})
    with pytest.raises(ValueError, match="give qformer_input_ids"):
        model(**batch | {"qformer_input_ids": None})
    with pytest.raises(ValueError, match="give instruction_input_ids"):
        model(**batch | {"instruction_input_ids": None})
    with pytest.raises(ValueError, match=r"22 image placeholders, the images give 16 tokens"):
        model(**batch | {"expert_ids": torch.full((4,), NO_EXPERT)})
    with pytest.raises(ValueError, match=r"no linear layer of the language model is named 'w1'; there are"):
        add_adapters(copy.deepcopy(model.language_model), ["x"], rank=1, alpha=1, targets=["w1"])
