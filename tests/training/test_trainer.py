from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback

from rsunivlm.data.collation import Collator
from rsunivlm.data.dataset import TrainingSamples
from rsunivlm.data.mixtures import Mixture
from rsunivlm.training.metrics import TrainingFlops
from rsunivlm.training.recipe import Recipe
from rsunivlm.training.stages import prepare_stage
from rsunivlm.training.trainer import RSUniVLMTrainer, replace_folder, training_arguments


@pytest.fixture
def make_trainer(toy_data: Path, make_tiny_model, tiny_processor, tmp_path: Path):
    def make(stage=1, num_experts=1, steps=2, **settings) -> RSUniVLMTrainer:
        mixture = {"datasets": [{"name": "toy", "records": str(toy_data / "train.jsonl")}]}
        defaults = {"learning_rate": 1e-2, "warmup_ratio": 0.0, "log_every": 1, "precision": "fp32"}
        recipe = Recipe(name="toy", stage=stage, mixture=mixture, **{**defaults, **settings})
        samples = steps * recipe.batch_size * recipe.gradient_accumulation
        model = prepare_stage(make_tiny_model(num_experts=num_experts), stage)
        return RSUniVLMTrainer(
            model=model,
            args=training_arguments(recipe, tmp_path / "scratch", distributed=False),
            data_collator=Collator(tiny_processor.tokenizer.pad_token_id, model.config.num_experts),
            train_dataset=TrainingSamples(Mixture.load(recipe.mixture), tiny_processor, samples, 500),
            processing_class=tiny_processor,
            learning_rates=recipe.learning_rates,
            flops=TrainingFlops.of(model),
        )

    return make


def losses(trainer: RSUniVLMTrainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_the_loss_is_the_mean_over_the_supervised_tokens_of_the_global_batch(
    make_trainer, make_tiny_model
) -> None:
    trainer = make_trainer(batch_size=2, gradient_accumulation=3, steps=1)
    total, count = 0.0, 0
    model = make_tiny_model()
    for position in range(6):
        sample = trainer.train_dataset[position]
        with torch.no_grad():
            logits_LV = model(sample.input_ids[None], sample.pixel_values).logits[0]
        total += torch.nn.functional.cross_entropy(logits_LV[:-1], sample.labels[1:], reduction="sum").item()
        count += int((sample.labels != -100).sum())
    trainer.train()
    assert losses(trainer)[0] == pytest.approx(total / count, rel=1e-5)


def test_two_forward_passes_of_four_equal_one_of_eight(make_trainer) -> None:
    whole = make_trainer(stage=2, num_experts=3, batch_size=8)
    split = make_trainer(stage=2, num_experts=3, batch_size=4, gradient_accumulation=2)
    gradients: dict[RSUniVLMTrainer, list[torch.Tensor]] = {whole: [], split: []}

    class Keep(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, model, **_) -> None:
            gradients[trainer] += [p.grad.clone() for p in model.parameters() if p.grad is not None]

    for trainer in (whole, split):
        trainer.add_callback(Keep())
        trainer.train()
    assert losses(whole) == pytest.approx(losses(split), rel=1e-5)
    # The second step's gradients are equal only if the first step's update was.
    assert len(gradients[whole]) == 2 * 4
    for a, b in zip(gradients[whole], gradients[split], strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_frozen_parts_neither_move_nor_leave_evaluation_mode(make_trainer, make_tiny_model) -> None:
    trainer = make_trainer(stage=2, num_experts=3)
    trainer.train()
    before = make_tiny_model(num_experts=3).state_dict()
    moved = {
        name for name, tensor in trainer.model.state_dict().items() if not torch.equal(tensor, before[name])
    }
    assert moved == {name for name in before if ".mlp." in name and "language_model" in name}
    assert trainer.model.model.language_model.training
    assert not trainer.model.model.vision_tower.training


def test_parts_of_the_model_can_have_their_own_learning_rate(make_trainer) -> None:
    trainer = make_trainer(learning_rates={"model.vision_tower": 1e-4, "model": 1e-3}, weight_decay=0.1)
    groups = trainer.create_optimizer().param_groups
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    found = {
        (group["lr"], group["weight_decay"]): {names[id(parameter)] for parameter in group["params"]}
        for group in groups
    }
    assert sum(len(group) for group in found.values()) == sum(
        p.requires_grad for p in trainer.model.parameters()
    )
    assert all(name.startswith("model.vision_tower") for name in found[1e-4, 0.1] | found[1e-4, 0.0])
    assert "model.language_model.layers.0.mlp.down_proj" in found[1e-3, 0.1]
    assert "model.language_model.norm.weight" in found[1e-3, 0.0]
    with pytest.raises(ValueError, match="learning_rates: no trained parameter begins with tower"):
        make_trainer(learning_rates={"tower": 1e-4}).create_optimizer()


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for name in ("new", "final"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    replace_folder(tmp_path / "new", tmp_path / "final")
    assert [path.name for path in tmp_path.rglob("*")] == ["final", "new"]
