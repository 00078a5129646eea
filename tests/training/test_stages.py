import pytest
import torch

from rsunivlm.training.stages import freeze_parts, frozen_modules, prepare_stage

EXPERTS = {
    f"model.language_model.layers.{layer}.mlp.{part}_proj"
    for layer in range(2)
    for part in ("gate_up", "down")
}


def trained(model) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_stage_1_trains_exactly_what_takes_part(make_tiny_model, tiny_processor) -> None:
    model = prepare_stage(make_tiny_model(image_newline=True), 1)
    ids = torch.tensor([[tiny_processor.image_token_id] * 5 + [5, 6]])
    model(ids, torch.rand(1, 3, 32, 32), labels=ids).loss.backward()
    reached = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert trained(model) == reached
    assert EXPERTS | {"model.image_newline", "model.multi_modal_projector.linear_1.weight"} < reached
    assert any(name.startswith("model.vision_tower.") for name in reached)


@pytest.mark.parametrize("num_experts", [1, 3])
def test_stage_2_trains_exactly_the_experts(make_tiny_model, num_experts: int) -> None:
    model = prepare_stage(make_tiny_model(num_experts=num_experts), 2)
    assert model.config.num_experts == 3
    assert trained(model) == EXPERTS
    assert all(parameter.shape[0] == 3 for name, parameter in model.named_parameters() if name in EXPERTS)


def test_stage_1_refuses_experts(make_tiny_model) -> None:
    with pytest.raises(ValueError, match="3 experts"):
        prepare_stage(make_tiny_model(num_experts=3), 1)


def test_frozen_modules_cover_what_is_not_trained(make_tiny_model) -> None:
    model = prepare_stage(make_tiny_model(), 2)
    frozen = frozen_modules(model)
    assert model.model.vision_tower in frozen
    assert model.model.multi_modal_projector in frozen
    held = {id(parameter) for module in frozen for parameter in module.parameters()}
    assert held == {id(parameter) for parameter in model.parameters() if not parameter.requires_grad}


def test_a_learning_rate_of_zero_freezes_a_part_and_the_longest_prefix_counts(make_tiny_model) -> None:
    model = make_tiny_model()
    before = trained(model)
    rates = {"model.language_model": 0.0, "model.language_model.norm": 1e-4}
    assert freeze_parts(model, rates) == {"model.language_model.norm": 1e-4}
    language = {name for name in before if name.startswith("model.language_model.")}
    assert trained(model) == before - language | {"model.language_model.norm.weight"}


def test_gradient_checkpointing_changes_no_gradient(make_tiny_model, tiny_processor) -> None:
    model = prepare_stage(make_tiny_model(num_experts=3), 2).train()
    ids, labels = tiny_processor.encode_conversation([("[VG] the red vehicle", "[1, 2, 3, 4]")], 1)
    batch = {
        "input_ids": torch.tensor([ids] * 3),
        "labels": torch.tensor([labels] * 3),
        "pixel_values": torch.rand(3, 3, 32, 32),
        "expert_splits": (1, 2, 0),
    }

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        model(**batch).loss.backward()
        return [parameter.grad.clone() for parameter in model.parameters() if parameter.requires_grad]

    plain = gradients()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    calls = []
    model.model.language_model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    assert all(torch.equal(a, b) for a, b in zip(plain, gradients(), strict=True))
    assert len(calls) == 2  # it did recompute
