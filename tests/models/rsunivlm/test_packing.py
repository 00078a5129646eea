"""A pack trains what its samples would train alone, also where they share images: loss and every gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from rsunivlm.data.collation import Collator, PackCollator
from rsunivlm.data.loading import Sample
from rsunivlm.models import losses
from rsunivlm.models.rsunivlm.segment_attention import NAME as SEGMENTS
from rsunivlm.models.rsunivlm.segment_attention import flash_layout


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


def alone(samples: list[Sample], num_experts: int) -> list[dict[str, Any]]:
    """One batch a sample, for the plain loss over all positions."""
    batches = [Collator(0, num_experts)([sample]) for sample in samples]
    for batch in batches:
        del batch["loss_positions"], batch["loss_splits"]
    return batches


def assert_equal_training(model: Any, packed: dict[str, Any], samples: list[Sample]) -> None:
    """Loss and every gradient of the pack are those of the single samples."""
    expected_loss, expected = gradients(model, alone(samples, model.config.num_experts))
    model.set_attn_implementation({"text_config": SEGMENTS})
    loss, found = gradients(model, [packed])
    model.set_attn_implementation({"text_config": "sdpa"})
    assert_close(loss, expected_loss, atol=1e-6, rtol=1e-6)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        assert_close(
            gradient, expected[name], atol=2e-6, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("num_experts", [1, 3])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_packed_loss_and_gradients_equal_those_of_single_samples(
    make_tiny_model: Callable[..., Any], samples: list[Sample], num_experts: int, checkpointing: bool
) -> None:
    model = make_tiny_model(num_experts=num_experts)
    packed = PackCollator(0, num_experts)([samples[:2], samples[2:]])
    assert packed["input_ids"].shape[0] == 1
    assert packed["input_ids"].shape[1] % 32 == 0
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    assert_equal_training(model, packed, samples)


ASKED = (
    ("[VQA] is there a ship?", "yes", 0),
    ("[VG] the red vehicle", "[1, 2, 3, 4]", 1),
    ("[SEG] segment the building", "others*4, building*2\nbuilding*6", 2),
    ("[VQA] how many?", "no", 0),
)


@pytest.fixture(scope="module")
def make_about(tiny_processor) -> Callable[[int, int], Sample]:
    """Samples by what they show and what is asked: 0 and 1 are images, 2 and 3 pairs."""

    def make(shown: int, asked: int) -> Sample:
        prompt, answer, expert = ASKED[asked]
        names = [("a",), ("b",), ("a", "b"), ("b", "a")][shown]
        ids, labels = tiny_processor.encode_conversation([(prompt, answer)], len(names))
        drawn = {name: torch.randn(3, 32, 32, generator=torch.manual_seed(ord(name))) for name in "ab"}
        return Sample(
            torch.tensor(ids),
            torch.tensor(labels),
            torch.stack([drawn[name] for name in names]),
            expert,
            images=tuple(("root", name) for name in names),
            prefix=tiny_processor.image_prefix(len(names)),
        )

    return make


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    database=None,
)
@given(
    about=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=8),
    num_experts=st.sampled_from([1, 3]),
)
def test_samples_that_share_their_images_train_as_they_would_alone(
    make_tiny_model: Callable[..., Any],
    make_about: Callable[[int, int], Sample],
    about: list[tuple[int, int]],
    num_experts: int,
) -> None:
    model = make_tiny_model(num_experts=num_experts)
    samples = [make_about(*one) for one in about]
    packed = PackCollator(0, num_experts, share_images=True)([samples])
    groups = {(shown, ASKED[asked][2] if num_experts > 1 else 0) for shown, asked in about}
    assert len(packed["pixel_values"]) == sum(1 + (shown > 1) for shown, _ in groups)
    assert_equal_training(model, packed, samples)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_embeddings_can_be_shared_and_layers_recomputed(
    make_tiny_model: Callable[..., Any], make_about: Callable[[int, int], Sample], checkpointing: bool
) -> None:
    model = make_tiny_model(num_experts=3)
    samples = [make_about(shown, asked) for shown in (0, 2) for asked in (0, 1, 3)]
    packed = PackCollator(0, 3, share_images=True)([samples])
    with torch.no_grad():
        features = model.get_image_features(packed.pop("pixel_values")).pooler_output
    for part in (model.model.vision_tower, model.model.multi_modal_projector):
        part.requires_grad_(False)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    assert_equal_training(model, packed | {"image_features": features}, samples)


def test_a_branch_sees_its_prefix_and_nothing_of_other_branches(
    make_tiny_model: Callable[..., Any], make_about: Callable[[int, int], Sample]
) -> None:
    model = make_tiny_model(num_experts=3)
    model.set_attn_implementation({"text_config": SEGMENTS})
    packed = PackCollator(0, 3, share_images=True)([[make_about(0, 0), make_about(0, 3), make_about(1, 0)]])
    assert packed["segment_prefixes"] == (-1, 0, 0, -1, -1)
    kept_out = ("labels", "loss_positions", "loss_splits", "info")
    inputs = {key: value for key, value in packed.items() if key not in kept_out}
    ends = torch.tensor(packed["segment_lengths"]).cumsum(0).tolist()
    for changed, seeing in ((3, {0, 1, 2}), (ends[0] + 2, {1}), (ends[1] + 2, {2}), (ends[2] + 3, {3})):
        other = {**inputs, "input_ids": inputs["input_ids"].clone()}
        other["input_ids"][0, changed] = 7
        differs = (model(**inputs).logits != model(**other).logits).any(dim=-1)[0]
        for segment, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
            behind = differs[max(start, changed) : end]
            assert differs[start:end].any() == (segment in seeing)
            assert behind.all() or segment not in seeing


def test_keys_of_variable_length_attention_are_the_prefix_and_the_branch() -> None:
    starts, key_starts, longest, longest_keys, rows = flash_layout(
        (3, 2, 1, 4), (-1, 0, 0, -1), torch.device("cpu")
    )
    assert starts.tolist() == [0, 3, 5, 6, 10]
    assert key_starts.tolist() == [0, 3, 8, 12, 16]
    assert (longest, longest_keys) == (4, 5)
    assert rows.tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 0, 1, 2, 5, 6, 7, 8, 9]
    starts, key_starts, longest, longest_keys, rows = flash_layout((3, 2), (-1, -1), torch.device("cpu"))
    assert starts is key_starts  # torch then may use kernels that align the diagonal with the first key
    assert (starts.tolist(), longest, longest_keys, rows) == ([0, 3, 5], 3, 3, None)


def test_without_splits_the_last_layer_computes_all_and_gives_the_same(
    make_tiny_model: Callable[..., Any], samples: list[Sample]
) -> None:
    model = make_tiny_model(num_experts=3)
    batch = Collator(0, 3)(samples)
    loss, found = gradients(model, [batch])
    all_loss, computed = gradients(model, [{key: batch[key] for key in batch if key != "loss_splits"}])
    assert_close(loss, all_loss, atol=1e-6, rtol=1e-6)
    for name, gradient in found.items():
        assert_close(gradient, computed[name], atol=1e-6, rtol=1e-4)
    with pytest.raises(ValueError, match="do not cover"):
        model(**{key: batch[key] for key in batch if key != "info"} | {"loss_splits": (1, 1, 1)})


@pytest.mark.parametrize("num_experts", [1, 3])
def test_a_pass_without_supervision_gives_every_weight_a_gradient(
    make_tiny_model: Callable[..., Any], samples: list[Sample], num_experts: int
) -> None:
    """Data parallelism waits for a gradient of each weight in every process."""
    model = make_tiny_model(num_experts=num_experts)
    model.set_attn_implementation({"text_config": SEGMENTS})
    names = set(gradients(model, [PackCollator(0, num_experts)([samples])])[1])
    for sample in samples:
        sample.labels.fill_(-100)
    model.zero_grad(set_to_none=True)
    packed = PackCollator(0, num_experts)([samples])
    model(
        **{key: value for key, value in packed.items() if key != "info"}, num_items_in_batch=5
    ).loss.backward()
    assert {n for n, p in model.named_parameters() if p.grad is not None} == names
    assert not any(p.grad.any() for p in model.parameters() if p.grad is not None)


def test_training_keeps_no_cache(make_tiny_model: Callable[..., Any], samples: list[Sample]) -> None:
    model = make_tiny_model()
    batch = {key: value for key, value in Collator(0, 1)(samples[:1]).items() if key != "info"}
    del batch["loss_positions"]
    assert model(**batch).past_key_values is not None
    assert model.train()(**batch).past_key_values is None


def test_a_segment_sees_nothing_of_its_neighbours(
    make_tiny_model: Callable[..., Any], samples: list[Sample]
) -> None:
    model = make_tiny_model(num_experts=3)
    model.set_attn_implementation({"text_config": SEGMENTS})
    packed = PackCollator(0, 3)([samples])
    inputs = {
        key: value
        for key, value in packed.items()
        if key not in ("labels", "loss_positions", "loss_splits", "info")
    }
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
    plain_loss, plain = gradients(model, [{k: v for k, v in batch.items() if not k.startswith("loss_")}])
    for chunk in (1, 7, 10_000):
        monkeypatch.setattr(losses.supervised_cross_entropy, "__defaults__", (chunk,))
        loss, found = gradients(model, [batch])
        assert_close(loss, plain_loss, atol=1e-6, rtol=1e-6)
        for name, gradient in found.items():
            assert_close(gradient, plain[name], atol=1e-6, rtol=1e-4)
