"""A pack trains what its samples would train alone: loss and every gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from rsunivlm.data.collation import Collator, PackCollator
from rsunivlm.data.dataset import Sample
from rsunivlm.models.rsunivlm import losses
from rsunivlm.models.rsunivlm.segment_attention import NAME as SEGMENTS


@pytest.fixture
def samples(tiny_processor) -> list[Sample]:
    """Five conversations of three granularities, one about two images, in no order."""
    torch.manual_seed(0)
    conversations = [
        ([("[VG] the red vehicle", "[1, 2, 3, 4]")], 1, 1),
        ([("[VQA] is there a ship in the image?", "yes"), ("[VQA] and a vehicle?", "no")], 1, 0),
        ([("[SEG] segment", "others*4, building*2")], 1, 2),
        ([("[CCD] what changed?", "the red vehicle")], 2, 0),
        ([("[VG] the airplane", "[9, 2, 30, 40]")], 1, 1),
    ]
    made = []
    for turns, num_images, expert in conversations:
        ids, labels = tiny_processor.encode_conversation(turns, num_images)
        made.append(
            Sample(torch.tensor(ids), torch.tensor(labels), torch.randn(num_images, 3, 32, 32), expert)
        )
    return made


def gradients(model: Any, batches: list[dict[str, Any]]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Loss and gradients, summed over batches and divided by all supervised tokens."""
    model.train()
    model.zero_grad()
    items = sum(int((batch["labels"] != -100).sum()) for batch in batches)
    total = torch.zeros(())
    for batch in batches:
        inputs = {key: value for key, value in batch.items() if key != "info"}
        loss = model(**inputs, num_items_in_batch=items).loss
        loss.backward()
        total += loss.detach()
    return total, {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("num_experts", [1, 3])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_packed_loss_and_gradients_equal_those_of_single_samples(
    make_tiny_model: Callable[..., Any], samples: list[Sample], num_experts: int, checkpointing: bool
) -> None:
    model = make_tiny_model(num_experts=num_experts)
    alone = [Collator(0, num_experts)([sample]) for sample in samples]
    for batch in alone:
        del batch["loss_positions"]  # the plain loss over all positions
    expected_loss, expected = gradients(model, alone)

    model.set_attn_implementation({"text_config": SEGMENTS})
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    packed = PackCollator(0, num_experts)([samples[:2], samples[2:]])
    assert packed["input_ids"].shape[0] == 1
    assert packed["input_ids"].shape[1] % 32 == 0
    loss, found = gradients(model, [packed])
    assert_close(loss, expected_loss, atol=1e-6, rtol=1e-6)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        assert_close(
            gradient, expected[name], atol=2e-6, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_a_segment_sees_nothing_of_its_neighbours(
    make_tiny_model: Callable[..., Any], samples: list[Sample]
) -> None:
    model = make_tiny_model(num_experts=3)
    model.set_attn_implementation({"text_config": SEGMENTS})
    packed = PackCollator(0, 3)([samples])
    inputs = {key: value for key, value in packed.items() if key not in ("labels", "loss_positions", "info")}
    before = model(**inputs).logits
    start, stop = packed["segment_lengths"][0], sum(packed["segment_lengths"][:2])
    inputs["input_ids"] = inputs["input_ids"].clone()
    inputs["input_ids"][0, start + 5] = 7
    after = model(**inputs).logits
    changed = (before != after).any(dim=-1)[0]
    assert changed[start + 5 : stop].all()
    assert not changed[:start].any()
    assert not changed[stop:].any()


def test_loss_in_chunks_equals_the_plain_loss(
    make_tiny_model: Callable[..., Any], samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_tiny_model(num_experts=3)
    batch = Collator(0, 3)(samples)
    plain_loss, plain = gradients(model, [{k: v for k, v in batch.items() if k != "loss_positions"}])
    for chunk in (1, 7, 10_000):
        monkeypatch.setattr(losses.supervised_cross_entropy, "__defaults__", (chunk,))
        loss, found = gradients(model, [batch])
        assert_close(loss, plain_loss, atol=1e-6, rtol=1e-6)
        for name, gradient in found.items():
            assert_close(gradient, plain[name], atol=1e-6, rtol=1e-4)
