"""The systems of Table 8: each trains, is published, loads and answers; each counts what it should."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from rsunivlm.inference.answer import Request
from rsunivlm.inference.predictor import RSUniVLM
from rsunivlm.models.counts import PRESETS
from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMConfig
from rsunivlm.tasks import Task
from rsunivlm.training import family_rsunivlm, run
from rsunivlm.training.adaptations import (
    ADAPTATIONS,
    adaptation_of,
    count_adaptation,
    describe,
    make_adaptation,
)
from rsunivlm.training.recipe import Recipe, load_recipe

NARROW: dict[str, Any] = {"num_experts": 4, "width": 32}
SYSTEMS: list[tuple[str, dict[str, Any], str]] = [
    ("gmoe", {}, "gmoe"),
    ("full", {}, "dense"),
    ("lora", {"rank": 4}, "dense"),
    ("lora", {"rank": 4, "preset": "paper"}, "dense"),
    ("moe", NARROW, "moe"),
    ("moe", {"num_experts": 3, "top_k": 1, "width": 0}, "moe"),
    ("ffn_only", {}, "dense"),
    ("gmoe_random", {}, "gmoe"),
    ("gmoe_shared_lora", {"rank": 4}, "gmoe_shared_lora"),
]
FEED_FORWARD, ATTENTION = ".mlp.", ".self_attn."
# Parts of the published checkpoint that may differ from the start, by system.
MOVED = {
    "gmoe": (FEED_FORWARD,),
    "full": ("",),
    "lora": (FEED_FORWARD, ATTENTION, "multi_modal_projector"),
    "moe": (FEED_FORWARD,),
    "ffn_only": (FEED_FORWARD,),
    "gmoe_random": (FEED_FORWARD,),
    "gmoe_shared_lora": (),
}


@pytest.fixture
def start(make_tiny_model, tiny_processor, tmp_path: Path) -> Path:
    """A stage 1 checkpoint."""
    folder = tmp_path / "start"
    make_tiny_model().save_pretrained(folder)
    tiny_processor.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("name", "options", "layout"), SYSTEMS)
@pytest.mark.parametrize("packing", [False, True])
def test_every_system_trains_saves_loads_and_answers(
    toy_recipe, start: Path, name: str, options: dict[str, Any], layout: str, packing: bool
) -> None:
    settings = {
        "init_from": str(start),
        "adaptation": name,
        "adaptation_options": json.dumps(options),
        "packing": str(packing).lower(),
        "max_length": "200",
        "max_steps": "2",
        "batch_size": "2",
    }
    recipe = load_recipe(toy_recipe(), 2, settings)
    folder = run.train(recipe)

    config = AutoModelForImageTextToText.from_pretrained(folder).config
    assert describe(config) == layout
    adaptation = adaptation_of(recipe)
    dense = RSUniVLMConfig.from_pretrained(start)
    # What the order of the samples was planned with, before the model was built.
    assert config.num_experts == adaptation.sample_experts(dense)
    assert config.random_experts_seed == adaptation.random_experts_seed(dense)
    counts = count_adaptation(config, adaptation)
    assert json.loads((folder / "training.json").read_text())["trained_parameters"] == counts.trained

    before, after = load_file(start / "model.safetensors"), load_file(folder / "model.safetensors")
    assert sum(tensor.numel() for tensor in after.values()) == counts.stored
    if layout in ("dense", "gmoe"):
        assert before.keys() == after.keys()
    moved = {
        key
        for key, tensor in before.items()
        if key not in after or tensor.shape != after[key].shape or not torch.equal(tensor, after[key])
    }
    assert bool(moved) == bool(MOVED[name])
    if layout == "gmoe_shared_lora":
        assert all(after[key].any() for key in after if key.endswith("_b"))  # they began at zero
    assert all(any(part in key for part in MOVED[name]) for key in moved), moved
    assert (folder / "adapter/adapter_model.safetensors").is_file() == (name == "lora")

    model = RSUniVLM.from_pretrained(folder)
    picture = Image.new("RGB", (40, 40), (200, 30, 30))
    requests = [
        Request([picture], prompt) for prompt in ("[VG] the red field", "[VQA] which colour?", "[SEG] red")
    ]
    answers = model.answer_batch(requests, max_new_tokens=4)
    assert [answer.text for answer in answers] == [
        model.answer_batch([request], max_new_tokens=4)[0].text for request in requests
    ]


def test_only_its_own_kind_is_trained_further(toy_recipe, start: Path, tmp_path: Path) -> None:
    def settings(**more: str) -> dict[str, str]:
        return {"max_steps": "1", "init_from": str(start), **more}

    routed = {"adaptation": "moe", "adaptation_options": json.dumps(NARROW)}
    folders = {}
    for name, more in (("gmoe", {}), ("moe", routed), ("gmoe_random", {"adaptation": "gmoe_random"})):
        more = {**more, "output": str(tmp_path / name)}
        folders[name] = run.train(load_recipe(toy_recipe(), 2, settings(**more)))
    again = settings(**routed, init_from=str(folders["moe"]), output=str(tmp_path / "again"))
    run.train(load_recipe(toy_recipe(), 2, again))
    for begun, wanted, message in (
        ("gmoe", "lora", "adaptation lora starts from a dense model .* not from one of gmoe"),
        ("moe", "gmoe", "adaptation gmoe starts from a dense model .* not from one of moe"),
        ("gmoe_random", "gmoe", "another way .random_experts_seed 0, here None"),
    ):
        recipe = load_recipe(toy_recipe(), 2, settings(adaptation=wanted, init_from=str(folders[begun])))
        with pytest.raises(ValueError, match=message):
            run.train(recipe)


def test_random_experts_know_nothing_of_granularity(tiny_processor, monkeypatch: pytest.MonkeyPatch) -> None:
    by_task = [tiny_processor.expert_of(task, "any") for task in (Task.VQA, Task.VG, Task.SS)]
    assert by_task == [0, 1, 2]
    monkeypatch.setattr(tiny_processor, "random_experts_seed", 5)
    drawn = {task: [tiny_processor.expert_of(task, f"synth {i}") for i in range(3000)] for task in Task}
    assert len({tuple(experts) for experts in drawn.values()}) == 1  # the task does not matter
    assert all(900 < drawn[Task.VG].count(expert) < 1100 for expert in range(3))
    monkeypatch.setattr(tiny_processor, "random_experts_seed", 6)
    assert [tiny_processor.expert_of(Task.VG, f"synth {i}") for i in range(3000)] != drawn[Task.VG]


def test_the_random_draw_takes_the_seed_of_the_run_unless_told_otherwise() -> None:
    recipe = {"name": "x", "stage": 2, "mixture": "m.yaml", "adaptation": "gmoe_random", "seed": 7}
    assert adaptation_of(Recipe(**recipe)).seed == 7
    assert adaptation_of(Recipe(**recipe, adaptation_options={"seed": 1})).seed == 1


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("loro", {}, "unknown adaptation 'loro'; choose one of gmoe, full, lora"),
        ("lora", {"ranks": 3}, "adaptation lora has no option 'ranks'; did you mean 'rank'"),
        ("full", {"depth": 3}, "adaptation full has no option 'depth'; it has none"),
        ("lora", {"rank": "many"}, "lora: rank must be a whole number, got 'many'"),
        ("lora", {"rank": 0}, "rank and alpha must be above 0"),
        ("lora", {"dropout": 1.0}, "dropout is a share below 1"),
        ("lora", {"preset": "official"}, "lora: preset must be one of default, paper"),
        ("moe", {"top_k": 9}, "cannot have 9 of 8 experts"),
        ("gmoe_shared_lora", {"rank": -1}, "rank must be above 0"),
    ],
)
def test_mistakes_are_named(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_adaptation(name, options)


def test_a_recipe_refuses_what_does_not_fit(toy_recipe, start: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the model was built")

    monkeypatch.setattr(family_rsunivlm, "load_model", refuse)
    with pytest.raises(ValueError, match=r"adaptation lora is a setting of stage 2"):
        load_recipe(toy_recipe(), 1, {"adaptation": "lora"})
    with pytest.raises(ValueError, match=r"adaptation must be one of gmoe, full, lora"):
        load_recipe(toy_recipe(), 2, {"adaptation": "qlora"})
    for overrides, message in (
        ({"adaptation": "moe"}, r"experts of width 1536 are wider than the dense network \(96\)"),
        ({"adaptation": "lora", "adaptation_options.r": "3"}, "has no option 'r'"),
    ):
        with pytest.raises(ValueError, match=message):
            run.train(load_recipe(toy_recipe(), 2, {"init_from": str(start), **overrides}))


@pytest.mark.full_size
@pytest.mark.parametrize(
    ("name", "options", "trained", "per_sample", "in_training", "stored", "active"),
    [
        # Table 8 prints 313M / 893M: one expert, and the active parameters.
        ("gmoe", {}, 941_359_104, 313_786_368, 1_521_190_944, 1_521_190_944, 893_618_208),
        # 893M / 893M; the tower's unused final norm (2,304) is not trained here.
        ("full", {}, 893_615_904, 893_615_904, 893_618_208, 893_618_208, 893_618_208),
        # 72M / 987M, with and without the dead part.
        ("lora", {}, 72_222_464, 72_222_464, 964_003_872, 893_618_208, 893_618_208),
        ("lora", {"preset": "paper"}, 72_222_464, 72_222_464, 987_007_008, 893_618_208, 893_618_208),
        # 793M / 779M
        ("moe", {}, 792_895_488, 792_895_488, 1_372_727_328, 1_372_727_328, 778_184_736),
        (
            *("moe", {"width": 0, "num_experts": 3, "top_k": 1}),
            *(941_423_616, 941_423_616, 1_521_255_456, 1_521_255_456, 893_682_720),
        ),
        ("ffn_only", {}, 313_786_368, 313_786_368, 893_618_208, 893_618_208, 893_618_208),
        ("gmoe_random", {}, 941_359_104, 313_786_368, 1_521_190_944, 1_521_190_944, 893_618_208),
        ("gmoe_shared_lora", {}, 39_813_120, 13_271_040, 933_431_328, 933_431_328, 906_889_248),
    ],
)
def test_counts_of_the_published_size(
    name: str,
    options: dict[str, Any],
    trained: int,
    per_sample: int,
    in_training: int,
    stored: int,
    active: int,
) -> None:
    counts = count_adaptation(PRESETS["rsunivlm"], make_adaptation(name, options))
    assert (counts.trained, counts.trained_per_sample) == (trained, per_sample)
    assert (counts.in_training, counts.stored, counts.active) == (in_training, stored, active)
    assert ADAPTATIONS.keys() == {system for system, _, _ in SYSTEMS}
