"""Counts of a tiny model by hand: two layers, hidden 64, intermediate 96."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rsunivlm.models.counts import SystemCounts, count_parameters, count_system
from rsunivlm.models.rsunivlm.upcycling import upcycle, upcycle_low_rank, upcycle_token_routed

NETWORKS = 2 * 3 * 64 * 96  # feed-forward networks of all layers
CHANGES = 2 * 3 * 4 * (64 + 96)  # their low-rank changes of rank 4
ROUTERS = 2 * 64 * 5  # of five experts


def size(model) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.fixture
def dense(make_tiny_model) -> int:
    return size(make_tiny_model())


def test_granularity_experts(make_tiny_model, dense: int) -> None:
    model = upcycle(make_tiny_model())
    model.requires_grad_(False)
    for layer in model.model.language_model.layers:
        layer.mlp.requires_grad_(True)
    stored = dense + 2 * NETWORKS
    assert count_system(model) == SystemCounts(
        trained=3 * NETWORKS, trained_per_sample=NETWORKS, in_training=stored, stored=stored, active=dense
    )


def test_low_rank_experts(make_tiny_model, dense: int) -> None:
    model = upcycle_low_rank(make_tiny_model(), rank=4)
    model.requires_grad_(False)
    for layer in model.model.language_model.layers:
        for parameter in layer.mlp.low_rank:
            parameter.requires_grad_(True)
    stored = dense + 3 * CHANGES
    assert count_system(model) == SystemCounts(
        trained=3 * CHANGES,
        trained_per_sample=CHANGES,
        in_training=stored,
        stored=stored,
        active=dense + CHANGES,
    )


def test_token_routed_experts(make_tiny_model, dense: int) -> None:
    model = upcycle_token_routed(make_tiny_model(), num_experts=5, top_k=2, width=32)
    model.requires_grad_(False)
    for layer in model.model.language_model.layers:
        layer.mlp.requires_grad_(True)
    rest = dense - NETWORKS + ROUTERS
    trained = 5 * NETWORKS // 3 + ROUTERS  # a third of the width each
    assert count_system(model) == SystemCounts(
        trained=trained,
        trained_per_sample=trained,
        in_training=rest + 5 * NETWORKS // 3,
        stored=rest + 5 * NETWORKS // 3,
        active=rest + 2 * NETWORKS // 3,
    )


def test_a_checkpoint_is_counted_as_it_is_and_as_both_stages_have_it(make_tiny_model, dense: int) -> None:
    begun = count_parameters(make_tiny_model().config)
    assert (begun.stored, begun.active, begun.num_experts) == (dense, dense, 1)
    assert (begun.dense, begun.gmoe_stored) == (dense, dense + 2 * NETWORKS)
    for model, experts, active in (
        (upcycle(make_tiny_model()), 3, dense),
        (upcycle_low_rank(make_tiny_model(), rank=4), 3, dense + CHANGES),
        (
            upcycle_token_routed(make_tiny_model(), num_experts=5, top_k=2, width=32),
            5,
            dense - NETWORKS // 3 + ROUTERS,
        ),
    ):
        found = count_parameters(model.config)
        assert (found.stored, found.active, found.num_experts) == (size(model), active, experts)
        assert replace(found, stored=dense, active=dense, num_experts=1) == begun
