"""Averages and low-rank experts, by hand and against the experts they are made of."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.testing import assert_close

from rsunivlm.models.rsunivlm.merging import average_experts, factor_experts
from rsunivlm.models.rsunivlm.upcycling import upcycle, upcycle_low_rank, upcycle_token_routed


def logits(model, experts: list[int]) -> torch.Tensor:
    ids = torch.randint(10, 300, (len(experts), 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model(ids, expert_ids=torch.tensor(experts)).logits


def networks(model) -> list:
    return [layer.mlp for layer in model.model.language_model.layers]


@pytest.mark.parametrize("shares", [None, (1.0, 2.0, 5.0), (0.1, 0.2, 0.7)])
def test_the_average_of_copies_is_the_dense_model_to_the_last_bit(make_tiny_model, shares) -> None:
    dense = make_tiny_model()
    merged = average_experts(upcycle(copy.deepcopy(dense)), shares)
    assert merged.config.text_config.is_dense
    assert merged.state_dict().keys() == dense.state_dict().keys()
    for name, weight in merged.state_dict().items():
        assert torch.equal(weight, dense.state_dict()[name])


def test_an_average_by_hand_and_of_one_expert(make_tiny_model) -> None:
    model = make_tiny_model(3)
    with torch.no_grad():
        for expert, value in enumerate((1.0, 2.0, 6.0)):
            for network in networks(model):
                network.gate_up_proj[expert] = value
                network.down_proj[expert] = -value
    for shares, value in ((None, 3.0), ((1, 0, 1), 3.5), ((2, 1, 1), 2.5), ((0, 0, 4), 6.0)):
        for network in networks(average_experts(copy.deepcopy(model), shares)):
            assert (network.gate_up_proj == value).all()
            assert (network.down_proj == -value).all()
    trained = make_tiny_model(3)
    expected = logits(trained, [1, 1])
    assert torch.equal(logits(average_experts(trained, (0, 1, 0)), [0, 0]), expected)


def test_at_full_rank_every_expert_is_what_it_was(make_tiny_model) -> None:
    model = make_tiny_model(3)
    factored = factor_experts(copy.deepcopy(model), 64)
    for ours, theirs in zip(networks(factored), networks(model), strict=True):
        for expert in range(3):
            for mine, its in zip(ours.dense(expert), theirs.dense(expert), strict=True):
                assert_close(mine, its, atol=1e-5, rtol=1e-5)
    assert_close(logits(factored, [2, 0, 1, 1]), logits(model, [2, 0, 1, 1]), atol=1e-4, rtol=1e-4)


def test_changes_of_low_rank_are_found_and_others_cut_best(make_tiny_model) -> None:
    # Experts that differ from their average by changes of rank 2 at most.
    model = upcycle(make_tiny_model())
    torch.manual_seed(1)
    with torch.no_grad():
        for network in networks(model):
            for stack in (network.gate_up_proj, network.down_proj):
                stack[0] += torch.outer(torch.randn(stack.shape[1]), torch.randn(stack.shape[2]))
                stack[2] += torch.outer(torch.randn(stack.shape[1]), torch.randn(stack.shape[2]))
    exact, cut = factor_experts(copy.deepcopy(model), 2), factor_experts(copy.deepcopy(model), 1)
    for ours, short, theirs in zip(networks(exact), networks(cut), networks(model), strict=True):
        for expert in range(3):
            for mine, its in zip(ours.dense(expert), theirs.dense(expert), strict=True):
                assert_close(mine, its, atol=1e-5, rtol=1e-5)
            # What is missing of the rank-one form is the second singular value (Eckart and Young).
            change_DI = theirs.dense(expert)[1] - theirs.down_proj.mean(0)
            missing = (short.dense(expert)[1] - theirs.dense(expert)[1]).norm()
            assert_close(missing, torch.linalg.svdvals(change_DI)[1], atol=1e-4, rtol=1e-4)
    # A model with low-rank experts can be merged on.
    average = networks(average_experts(exact))[0].down_proj[0]
    assert_close(average, networks(model)[0].down_proj.mean(0), atol=1e-5, rtol=1e-5)


def test_what_cannot_be_merged_is_refused(make_tiny_model) -> None:
    routed = upcycle_token_routed(make_tiny_model(), num_experts=4, top_k=2)
    for work in (average_experts, lambda model: factor_experts(model, 4)):
        with pytest.raises(ValueError, match="this model is dense"):
            work(make_tiny_model())
        with pytest.raises(ValueError, match="this model is token-routed"):
            work(routed)
    for rank in (0, 65):
        with pytest.raises(ValueError, match=r"rank must be in 1\.\.64"):
            factor_experts(make_tiny_model(3), rank)
    for shares in ((1, 1), (1, -1, 1), (0, 0, 0), (1, 1, float("nan"))):
        with pytest.raises(ValueError, match="weights must be 3 numbers"):
            average_experts(upcycle_low_rank(make_tiny_model(), rank=2), shares)
