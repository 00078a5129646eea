"""The model against stock transformers modules, and its own promises: upcycling, mixed batches, generation.

Shapes: B batch, L sequence.
"""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from rsunivlm.models.rsunivlm.experts import ExpertDispatch
from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration
from rsunivlm.models.rsunivlm.upcycling import upcycle


@pytest.fixture
def batch(tiny_processor):
    """Three prompts of different lengths about one, one and two images, padded left, and their pixels."""
    turns = [("[CAP] describe it", 1), ("[VG] the red vehicle near the airplane", 1), ("[SEG] building", 2)]
    rows = [tiny_processor.encode_conversation([(prompt, None)], count)[0] for prompt, count in turns]
    pixels = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    return rows, [pixels[:1], pixels[1:2], pixels[2:]], tiny_processor.pad_left(rows)


def test_language_model_equals_stock_qwen2(make_tiny_model) -> None:
    model = make_tiny_model()
    text = model.config.text_config
    stock = Qwen2ForCausalLM(Qwen2Config(**{**text.to_dict(), "model_type": "qwen2"})).eval()
    state = {}
    for name, tensor in model.state_dict().items():
        if name.startswith("model.language_model."):
            name = name.replace("model.language_model.", "model.")
            if name.endswith("gate_up_proj"):
                prefix = name.removesuffix("gate_up_proj")
                state[prefix + "gate_proj.weight"], state[prefix + "up_proj.weight"] = tensor[0].chunk(2)
            elif name.endswith("down_proj"):
                state[name + ".weight"] = tensor[0]
            else:
                state[name] = tensor
    state["lm_head.weight"] = model.lm_head.weight
    stock.load_state_dict(state)
    ids_BL = torch.randint(10, text.vocab_size, (2, 17), generator=torch.Generator().manual_seed(0))
    mask_BL = torch.ones_like(ids_BL)
    mask_BL[0, :5] = 0
    with torch.no_grad():
        ours = model(input_ids=ids_BL, attention_mask=mask_BL).logits
        theirs = stock(input_ids=ids_BL, attention_mask=mask_BL).logits
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_upcycled_logits_equal_dense_bit_for_bit(make_tiny_model, batch) -> None:
    _, pixels, inputs = batch
    model = make_tiny_model()
    with torch.no_grad():
        dense = model(**inputs, pixel_values=torch.cat(pixels)).logits
        upcycle(model)
        for expert in range(3):
            ids = torch.full((3,), expert)
            assert torch.equal(model(**inputs, pixel_values=torch.cat(pixels), expert_ids=ids).logits, dense)
    assert model.config.num_experts == 3
    with pytest.raises(ValueError, match="3 experts"):
        upcycle(model)


@pytest.mark.parametrize("experts", [[0, 1, 2], [2, 0, 1], [1, 1, 0]])
def test_mixed_batch_equals_single_runs(make_tiny_model, batch, experts: list[int]) -> None:
    rows, pixels, inputs = batch
    model = make_tiny_model(num_experts=3)
    with torch.no_grad():
        mixed = model(**inputs, pixel_values=torch.cat(pixels), expert_ids=torch.tensor(experts)).logits
        for index, (row, images) in enumerate(zip(rows, pixels, strict=True)):
            alone = model(
                input_ids=torch.tensor([row]), pixel_values=images, expert_ids=torch.tensor([experts[index]])
            ).logits
            torch.testing.assert_close(mixed[index : index + 1, -len(row) :], alone, atol=1e-5, rtol=1e-5)


def test_host_side_splits_equal_expert_ids(make_tiny_model, batch) -> None:
    _, pixels, inputs = batch
    model = make_tiny_model(num_experts=3)
    with torch.no_grad():
        by_ids = model(**inputs, pixel_values=torch.cat(pixels), expert_ids=torch.tensor([0, 2, 2])).logits
        by_splits = model(**inputs, pixel_values=torch.cat(pixels), expert_splits=(1, 0, 2)).logits
    assert torch.equal(by_ids, by_splits)


@pytest.mark.parametrize("num_beams", [1, 2])
def test_batched_generate_equals_single_generate(make_tiny_model, batch, num_beams: int) -> None:
    rows, pixels, inputs = batch
    model = make_tiny_model(num_experts=3)
    experts = torch.tensor([0, 1, 2])
    options = {"max_new_tokens": 12, "do_sample": False, "num_beams": num_beams}
    together = model.generate(**inputs, pixel_values=torch.cat(pixels), expert_ids=experts, **options)
    length = inputs["input_ids"].shape[1]
    for index, (row, images) in enumerate(zip(rows, pixels, strict=True)):
        ids = torch.tensor([row])
        alone = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=images,
            expert_ids=experts[index : index + 1], **options,
        )[0, len(row) :]  # fmt: skip
        assert together[index, length : length + len(alone)].tolist() == alone.tolist()


def test_gradient_checkpointing_changes_nothing(make_tiny_model, batch) -> None:
    _, pixels, inputs = batch
    model = make_tiny_model(num_experts=3)
    losses, gradients = [], []
    for enable in (False, True):
        run = copy.deepcopy(model).train()
        if enable:
            run.gradient_checkpointing_enable({"use_reentrant": False})
            assert run.model.vision_tower.backbone.grad_checkpointing
            assert run.model.language_model.layers[0].gradient_checkpointing
        loss = run(
            **inputs,
            pixel_values=torch.cat(pixels),
            expert_ids=torch.tensor([0, 2, 1]),
            labels=inputs["input_ids"],
        ).loss
        loss.backward()
        losses.append(loss.detach())
        gradients.append({name: p.grad for name, p in run.named_parameters() if p.requires_grad})
    assert torch.equal(losses[0], losses[1])
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


def test_every_trained_parameter_gets_a_gradient_even_of_unused_experts(make_tiny_model, batch) -> None:
    _, pixels, inputs = batch
    model = make_tiny_model(num_experts=3).train()
    model(
        **inputs,
        pixel_values=torch.cat(pixels),
        expert_ids=torch.tensor([1, 1, 1]),
        labels=inputs["input_ids"],
    ).loss.backward()
    assert not [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    down = model.model.language_model.layers[0].mlp.down_proj.grad
    assert [bool(down[expert].any()) for expert in range(3)] == [False, True, False]


def test_save_and_load_is_bit_equal(make_tiny_model, tmp_path) -> None:
    model = make_tiny_model(num_experts=3, image_newline=True)
    model.save_pretrained(tmp_path)
    again = RSUniVLMForConditionalGeneration.from_pretrained(tmp_path)
    assert again.config.num_experts == 3
    assert again.config.mask_codec == {"grid": 4}
    assert again.lm_head.weight is again.model.language_model.embed_tokens.weight
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_image_newline_takes_one_more_position(make_tiny_model, tiny_processor) -> None:
    model = make_tiny_model(image_newline=True)
    features = model.get_image_features(torch.zeros(2, 3, 32, 32)).pooler_output
    assert features.shape == (2, model.config.num_image_tokens, 64) == (2, 5, 64)
    assert torch.equal(features[1, -1], model.model.image_newline)


def test_mistakes_are_named(make_tiny_model, batch) -> None:
    _, pixels, inputs = batch
    model = make_tiny_model(num_experts=3)
    with pytest.raises(ValueError, match="needs expert_ids"):
        model(**inputs, pixel_values=torch.cat(pixels))
    with pytest.raises(ValueError, match="16 image placeholders, the images give 4 tokens"):
        model(**inputs, pixel_values=pixels[0], expert_ids=torch.tensor([0, 0, 0]))
    with pytest.raises(ValueError, match=r"0\.\.2, got \[0, 3\]"):
        ExpertDispatch.from_ids([0, 3], 3, torch.device("cpu"))
    with pytest.raises(ValueError, match="do not cover 3 rows"):
        model(**inputs, pixel_values=torch.cat(pixels), expert_splits=(1, 1, 0))
