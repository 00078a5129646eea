"""Low-rank experts against full experts whose weights hold the same change."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.testing import assert_close

from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration
from rsunivlm.models.rsunivlm.upcycling import extract_expert, upcycle, upcycle_low_rank


def logits(model, experts: list[int]) -> torch.Tensor:
    ids = torch.randint(10, 300, (len(experts), 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model(ids, expert_ids=torch.tensor(experts)).logits


def test_training_begins_at_the_dense_model_to_the_last_bit(make_tiny_model) -> None:
    model = make_tiny_model()
    dense = logits(model, [0, 0, 0])
    upcycle_low_rank(model, rank=4)
    for expert in range(3):  # whole batches: products of fewer rows may differ in the last bit
        assert torch.equal(logits(model, [expert] * 3), dense)
    with pytest.raises(ValueError, match="3 experts"):
        upcycle_low_rank(model, rank=4)


def test_experts_equal_full_ones_with_the_change_folded_in(make_tiny_model) -> None:
    model = make_tiny_model()
    full = upcycle(copy.deepcopy(model))
    upcycle_low_rank(model, rank=4)
    with torch.no_grad():
        for ours, theirs in zip(
            model.model.language_model.layers, full.model.language_model.layers, strict=True
        ):
            low = ours.mlp
            for parameter in low.low_rank:
                parameter.normal_(std=0.1)
            for expert in range(3):
                for half in (0, 1):  # gate, up
                    a = low.gate_up_a[expert, 4 * half : 4 * half + 4]
                    b = low.gate_up_b[expert, 96 * half : 96 * half + 96]
                    theirs.mlp.gate_up_proj[expert, 96 * half : 96 * half + 96] += 2 * b @ a
                theirs.mlp.down_proj[expert] += 2 * low.down_b[expert] @ low.down_a[expert]
    assert_close(logits(model, [2, 0, 1, 1]), logits(full, [2, 0, 1, 1]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("low_rank", [False, True])
def test_each_expert_is_a_dense_model_of_its_own(make_tiny_model, tmp_path, low_rank: bool) -> None:
    model = make_tiny_model()
    upcycle_low_rank(model, rank=4) if low_rank else upcycle(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".mlp." in name and "language_model" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    answers = []
    for expert in range(3):
        extract_expert(copy.deepcopy(model), expert).save_pretrained(tmp_path)
        dense = RSUniVLMForConditionalGeneration.from_pretrained(tmp_path)
        assert dense.config.text_config.is_dense
        expected = logits(model, [expert] * 3)
        if low_rank:
            assert_close(logits(dense, [0, 0, 0]), expected, atol=1e-5, rtol=1e-5)
        else:
            assert torch.equal(logits(dense, [0, 0, 0]), expected)
        answers.append(expected)
    assert not torch.allclose(answers[0], answers[2], atol=1e-2)
    with pytest.raises(ValueError, match=r"expert must be in 0\.\.2, got 3"):
        extract_expert(model, 3)
    with pytest.raises(ValueError, match="this model is dense"):
        extract_expert(dense, 0)


def test_every_change_gets_a_gradient_and_the_shared_network_none(make_tiny_model) -> None:
    model = upcycle_low_rank(make_tiny_model(), rank=4).train()
    model.requires_grad_(False)
    low = model.model.language_model.layers[0].mlp
    for parameter in low.low_rank:
        parameter.requires_grad_(True)
    ids = torch.randint(10, 300, (2, 9), generator=torch.Generator().manual_seed(0))
    model(ids, expert_ids=torch.tensor([1, 1]), labels=ids).loss.backward()
    assert low.gate_up_proj.grad is None
    assert [bool(low.down_b.grad[expert].any()) for expert in range(3)] == [False, True, False]


def test_save_and_load_is_bit_equal(make_tiny_model, tmp_path) -> None:
    model = upcycle_low_rank(make_tiny_model(), rank=4)
    model.save_pretrained(tmp_path)
    again = RSUniVLMForConditionalGeneration.from_pretrained(tmp_path)
    assert (again.config.num_experts, again.config.text_config.expert_rank) == (3, 4)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
