"""RS-MoE through the trainer: what each stage trains and keeps, resuming, LoRA, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from rsunivlm.data.records import Record, Turn, write_records
from rsunivlm.models.rs_moe.modeling_rs_moe import RSMoEForConditionalGeneration
from rsunivlm.models.rs_moe.processing_rs_moe import RSMoEProcessor
from rsunivlm.tasks import Task
from rsunivlm.training import run
from rsunivlm.training.family_rs_moe import RSMoEFamily
from rsunivlm.training.recipe import Recipe, load_recipe


@pytest.fixture
def captions(toy_data: Path) -> Path:
    """Split captions of the toy pictures; the last has a theme only."""
    records = []
    for index, name in enumerate(("red", "green", "blue", "grey")):
        parts = {"theme": f"a {name} field .", "objects": "two cars .", "relations": f"trees near {name} ."}
        if index == 3:
            parts |= {"objects": "", "relations": ""}
        answer = " ".join(part for part in parts.values() if part)
        turn = Turn("[CAP] What does this image show?", answer)
        records.append(Record(f"cap-{name}", (f"{name}.png",), (turn,), Task.CAP, targets=parts))
    write_records(toy_data / "captions.jsonl", records)
    return toy_data / "captions.jsonl"


@pytest.fixture
def recipe_of(
    captions: Path, tiny_tokenizer_dir: Path, tiny_vision: dict[str, Any], tmp_path: Path
) -> Callable[..., Recipe]:
    """A stage of a toy recipe; keywords are overrides as on the command line."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    content: dict[str, Any] = {
        "family": "rs_moe",
        "mixture": {"datasets": [{"name": "toy", "records": str(captions)}]},
        "model": {
            "tokenizer": str(tiny_tokenizer_dir),
            "vision": tiny_vision,
            "qformer": {**sizes, "max_position_embeddings": 128},
            "text": {"model_type": "qwen2", "num_key_value_heads": 1, **sizes, "tie_word_embeddings": True},
            "num_query_tokens": 4,
        },
        "learning_rate": 1e-3,
        "max_steps": 3,
        "max_length": 500,
        "batch_size": 2,
        "log_every": 1,
        "log_to": "none",
        "stage1": {"output": str(tmp_path / "stage1")},
        "stage2": {
            "output": str(tmp_path / "stage2"),
            "init_from": str(tmp_path / "stage1"),
            "experts": {"adapter_rank": 4, "num_soft_tokens": 2, "soft_hidden_size": 8},
        },
    }
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return lambda stage, **overrides: load_recipe(path, stage, overrides)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_both_stages_train_what_they_should_and_nothing_else(recipe_of) -> None:
    first = run.train(recipe_of(1))
    second = run.train(recipe_of(2))
    torch.manual_seed(0)
    before, after = weights(first), weights(second)
    assert all(after[name].equal(tensor) for name, tensor in before.items())
    new = set(after) - set(before)
    assert {name.split(".")[0] for name in new} == {"language_model", "router"}
    assert all(".adapter_" in name or name.startswith("router.") for name in new)
    assert all(after[name].any() for name in new if ".adapter_b_" in name)  # they began at zero
    report = json.loads((second / "training.json").read_text())
    assert report["data"]["rows_per_epoch"] == {"theme": 4, "objects": 3, "relations": 3, "none": 0}
    assert report["trained_parameters"] == sum(after[name].numel() for name in new)
    model = RSMoEForConditionalGeneration.from_pretrained(second)
    assert list(model.config.subtasks) == ["theme", "objects", "relations"]
    processor = RSMoEProcessor.from_pretrained(second)
    assert processor.num_soft_tokens == 2
    # The tower is frozen from the start.
    tower = RSMoEFamily(recipe_of(1))
    made = tower.load_model(tower.load_processor())
    assert not any(parameter.requires_grad for parameter in made.vision_tower.parameters())


def test_the_experts_are_trained_further_without_new_settings(recipe_of, tmp_path: Path) -> None:
    run.train(recipe_of(1))
    second = run.train(recipe_of(2))
    further = run.train(recipe_of(2, init_from=str(second), experts="{}", output=str(tmp_path / "third")))
    before, after = weights(second), weights(further)
    changed = {name for name in before if not after[name].equal(before[name])}
    assert changed
    assert all(".adapter_" in name or name.startswith("router.") for name in changed)


def test_a_resumed_stage_two_ends_with_the_same_weights(recipe_of, tmp_path: Path, monkeypatch) -> None:
    run.train(recipe_of(1))
    cache = {"feature_cache": str(tmp_path / "features"), "max_steps": "4", "checkpoint_every": "2"}
    whole = weights(run.train(recipe_of(2, output=str(tmp_path / "whole"), **cache)))
    load = RSMoEForConditionalGeneration.forward

    def die(*arguments: Any, **keywords: Any) -> Any:
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(1)
        return load(*arguments, **keywords)

    seen: list[int] = []
    broken = recipe_of(2, output=str(tmp_path / "broken"), **cache)
    monkeypatch.setattr(RSMoEForConditionalGeneration, "forward", die)
    with pytest.raises(KeyboardInterrupt):
        run.train(broken)
    monkeypatch.setattr(RSMoEForConditionalGeneration, "forward", load)
    resumed = weights(run.train(broken))
    assert all(resumed[name].equal(tensor) for name, tensor in whole.items())


def test_lora_of_stage_one_is_published_merged(recipe_of, tmp_path: Path) -> None:
    start = run.train(recipe_of(1))
    settings = {"init_from": str(start), "output": str(tmp_path / "lora"), "lora": "{rank: 2, alpha: 4}"}
    folder = run.train(recipe_of(1, **settings))
    before, after = weights(start), weights(folder)
    assert before.keys() == after.keys()
    changed = {name for name in before if not after[name].equal(before[name])}
    assert all(
        name.startswith(("bridge.ln_vision", "bridge.llm_proj"))
        or (name.endswith("weight") and name.startswith(("bridge.qformer.", "language_model.")))
        for name in changed
    )
    assert "language_model.model.embed_tokens.weight" not in changed
    assert any("bridge.qformer" in name for name in changed)
    assert (folder / "adapter/adapter_model.safetensors").is_file()


def test_the_preset_of_the_repository_has_rank_one_on_feed_forward_layers(recipe_of, tmp_path: Path) -> None:
    first = run.train(recipe_of(1, lora="{preset: repo}"))
    stored = json.loads((first / "adapter/adapter_config.json").read_text())
    assert (stored["r"], stored["lora_alpha"]) == (1, 8)
    ends = {name.rpartition(".")[2] for name in stored["target_modules"]}
    assert ends == {"gate_proj", "up_proj", "down_proj"}
    second = run.train(recipe_of(2, experts="{preset: repo, num_soft_tokens: 2, soft_hidden_size: 8}"))
    adapters = {name: tensor for name, tensor in weights(second).items() if ".adapter_" in name}
    assert {name.split(".")[-2] for name in adapters} == ends
    assert all(1 in tensor.shape for tensor in adapters.values())
    config = json.loads((second / "config.json").read_text())
    assert (config["adapter_rank"], config["adapter_alpha"]) == (1, 8.0)


def test_stage_two_may_train_the_projection_too(recipe_of) -> None:
    first = run.train(recipe_of(1))
    second = run.train(recipe_of(2, also_train="[bridge.llm_proj]"))
    before, after = weights(first), weights(second)
    changed = {name for name in before if not after[name].equal(before[name])}
    assert changed == {"bridge.llm_proj.weight", "bridge.llm_proj.bias"}


def test_one_stage_trains_everything_at_once(recipe_of) -> None:
    folder = run.train(recipe_of(1, experts="{adapter_rank: 4}"))
    found = weights(folder)
    assert any(".adapter_b_theme" in name and tensor.any() for name, tensor in found.items())


@pytest.mark.parametrize(
    ("stage", "overrides", "message"),
    [
        (
            2,
            {"experts": "{experts: [theme, objects], prompts: {theme: What}}"},
            "experts: .*give each expert",
        ),
        (2, {"experts": "{adapter_rnk: 4}"}, "unknown setting experts.adapter_rnk"),
        (2, {"experts": "{experts_as: prompts, router: template}"}, "leaves nothing to train in stage 2"),
        (2, {"targets": "{theme: [sky]}"}, "expert theme cannot learn 'sky'"),
        (2, {"experts": "{preset: rep}"}, "lora: there is no preset 'rep', only repo"),
        (2, {"also_train": "[llm_proj]"}, "also_train: no parameter .* begins with 'llm_proj'"),
        (2, {"also_train": "[vision_tower]"}, "also_train: no parameter outside the vision tower"),
        (1, {"also_train": "[router.]"}, "also_train is a setting of stage 2"),
        (2, {"also_train": "bridge.llm_proj"}, "also_train must be a list"),
        (2, {"empty_parts": "silent"}, "empty_parts must be one of nothing, silence"),
        (1, {"family": "rsunivlm", "empty_parts": "silence"}, "empty_parts is a setting of RS-MoE"),
        (2, {"lora": "{rank: 2}"}, "lora is a setting of stage 1"),
        (1, {"lora": "{rnk: 2}"}, "lora: unknown setting 'rnk'"),
        (1, {"lora": "{targets: [gate]}"}, "lora: no linear layer is named 'gate'"),
        (1, {"packing": "true"}, "packing is no setting of RS-MoE"),
        (1, {"adaptation": "full"}, "adaptation full is a setting of RSUniVLM"),
        (1, {"family": "rsunivlm", "lora": "{rank: 2}"}, "lora is a setting of RS-MoE"),
        (1, {"model.text.hiden_size": "3"}, "unknown setting model.text.hiden_size"),
        (1, {"model.text.model_type": "qwen9"}, "transformers knows no language model of type 'qwen9'"),
        (1, {"model.qformer.width": "3"}, "unknown setting model.qformer.width"),
        (1, {"model.tokenizer": ""}, "model.tokenizer"),
        (1, {"max_length": "99999"}, "above the model's context"),
        (2, {"init_from": "nowhere"}, "no stage 1 result at nowhere"),
    ],
)
def test_impossible_settings_are_refused_before_training(recipe_of, stage, overrides, message: str) -> None:
    if stage == 2 and "init_from" not in overrides:
        run.train(recipe_of(1, max_steps="1"))
    with pytest.raises(ValueError, match=message):
        run.train(recipe_of(stage, **overrides))


def test_a_checkpoint_of_the_other_family_is_refused(recipe_of, tiny_checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="is of type 'rsunivlm', not 'rs_moe'"):
        run.train(recipe_of(2, init_from=str(tiny_checkpoint)))
