"""The sizes of the table in docs/rs_moe.md, and a tiny model counted by hand."""

from __future__ import annotations

import json

import pytest

from rsunivlm.cli import main
from rsunivlm.models.rs_moe.counts import count_rs_moe
from rsunivlm.models.rs_moe.presets import preset
from rsunivlm.models.rs_moe.upcycling import as_copies

# Millions: language model, adapter of rank 16, stored but for adapters and router, experts as copies.
SIZES = {
    "rs_moe-7b": (6738, 40.0, 7913, 21390),
    "rs_moe-3b": (3213, 24.3, 4387, 10812),
    "rs_moe-1b": (1236, 11.3, 2409, 4881),
    "rs_moe-light": (494, 8.8, 1076, 2064),
}


@pytest.mark.full_size
@pytest.mark.parametrize("name", SIZES)
def test_presets_have_the_sizes_of_their_parts(name: str) -> None:
    counts = count_rs_moe(preset(name))
    found = (
        round(counts.language_model / 1e6),
        round(counts.per_adapter / 1e6, 1),
        round((counts.stored - counts.trained_stage2) / 1e6),
        round(counts.as_copies / 1e6),
    )
    assert found == SIZES[name]
    light = name == "rs_moe-light"
    # timm's ViT-g has no key biases: 39 x 1408 fewer than where they are stored as zeros (986.0 M).
    assert counts.vision_tower == (397_747_744 if light else 985_897_344)
    assert round(counts.qformer / 1e6, 1) == (183.3 if light else 185.7)


def test_a_tiny_model_by_hand(make_tiny_rs_moe) -> None:
    model, _ = make_tiny_rs_moe()
    counts = count_rs_moe(model.config)
    attention = 4 * (64 + 64) + 2 * 4 * (64 + 32) + 4 * (64 + 64)  # q, k and v, o of rank 4
    assert counts.per_adapter == 2 * (attention + 3 * 4 * (64 + 96))
    assert counts.router == 3 * (16 * (64 + 64) + 16 + 2 * 64 * 16 + 2 * 64)
    assert counts.stored == sum(p.numel() for p in model.parameters())
    assert counts.active == counts.stored - 2 * (counts.per_adapter + counts.router // 3)
    assert counts.trained_stage2 == 3 * counts.per_adapter + counts.router
    copies = as_copies(model)
    counted = count_rs_moe(copies.config)
    assert counted.stored == sum(p.numel() for p in copies.parameters())
    assert counted.stored == counted.as_copies + counts.router
    assert counted.as_copies == counts.as_copies


@pytest.mark.full_size
def test_info_prints_a_preset(capsys) -> None:
    assert main(["info", "rs_moe-light", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_experts"] == 3
    assert main(["plan", "rs_moe-light"]) == 2
    assert "rs_moe-light is of type 'rs_moe'; this is for 'rsunivlm'" in capsys.readouterr().err
