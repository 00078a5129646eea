"""From recipe to checkpoint: both stages, and everything that must be refused before a model is built."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

from rsunivlm.models.rsunivlm.processing_rsunivlm import RSUniVLMProcessor
from rsunivlm.training import build, family_rsunivlm, run
from rsunivlm.training.recipe import load_recipe


def refuse_to_build(*_: object) -> None:
    raise AssertionError("the model was built")


def test_both_stages_end_to_end(toy_recipe, tmp_path: Path) -> None:
    path = toy_recipe(
        stage2={"output": str(tmp_path / "two"), "init_from": str(tmp_path / "runs/toy/stage1")}
    )
    stage1 = run.train(load_recipe(path, 1))
    stage2 = run.train(load_recipe(path, 2, {"save_dtype": "bf16", "save_every": "2"}))
    assert stage1 == tmp_path / "runs/toy/stage1"
    assert {path.name for path in tmp_path.iterdir()} == {"data", "toy.yaml", "runs", "two", "logs"}
    assert not [path for path in tmp_path.rglob(".*") if path.is_dir()]  # nothing half-written stays

    report = json.loads((stage2 / "training.json").read_text())
    assert report["steps"] == len(report["loss"]["curve"]) == 3
    assert report["samples"] == 12
    assert report["data"] == {"toy": {"records": 16, "samples_per_epoch": 16}}
    assert report["recipe"]["init_from"] == str(stage1)
    assert report["versions"]["torch"] == torch.__version__.split("+")[0]

    dense, experts = load_file(stage1 / "model.safetensors"), load_file(stage2 / "model.safetensors")
    assert dense.keys() == experts.keys()
    assert {tensor.dtype for tensor in experts.values()} == {torch.bfloat16}
    for name, tensor in dense.items():
        if ".mlp." in name and "language_model" in name:
            assert experts[name].shape == (3, *tensor.shape[1:])
            assert not experts[name][0].equal(experts[name][2])  # each learnt from its own samples
        else:
            assert experts[name].equal(tensor.bfloat16()), name

    model = AutoModelForImageTextToText.from_pretrained(stage2)
    assert model.dtype == torch.bfloat16
    assert model.config.num_experts == 3
    assert RSUniVLMProcessor.from_pretrained(stage2).num_image_tokens == 4


def test_the_same_seed_gives_the_same_weights(toy_recipe, tmp_path: Path) -> None:
    def weights(name: str, **overrides: str) -> dict[str, torch.Tensor]:
        folder = run.train(load_recipe(toy_recipe(), 1, {"output": str(tmp_path / name), **overrides}))
        return load_file(folder / "model.safetensors")

    first, again, other = weights("a"), weights("b"), weights("c", seed="1")
    assert all(first[name].equal(again[name]) for name in first)
    assert not all(first[name].equal(other[name]) for name in first)


@pytest.mark.parametrize("packing", [False, True])
def test_the_number_of_loader_workers_changes_nothing(toy_recipe, tmp_path: Path, packing: bool) -> None:
    settings = {"packing": str(packing).lower(), "max_length": "300", "batch_size": "2"}
    found = []
    for workers in (1, 2):
        output = {"output": str(tmp_path / f"workers{workers}"), "workers": str(workers)}
        folder = run.train(load_recipe(toy_recipe(), 1, {**settings, **output}))
        curve = json.loads((folder / "training.json").read_text())["loss"]["curve"]
        found.append((load_file(folder / "model.safetensors"), curve))
    (one, losses_one), (two, losses_two) = found
    assert losses_one == losses_two
    assert all(one[name].equal(two[name]) for name in one)


def test_an_earlier_result_is_kept_unless_told_otherwise(toy_recipe, tmp_path: Path) -> None:
    output = tmp_path / "runs/toy/stage1"
    output.mkdir(parents=True)
    with pytest.raises(ValueError, match=r"stage1 exists.*overwrite=true"):
        run.train(load_recipe(toy_recipe(), 1))
    run.train(load_recipe(toy_recipe(), 1, {"overwrite": "true", "max_steps": "1"}))
    assert (output / "model.safetensors").is_file()


def test_a_bad_image_stops_the_run_and_leaves_nothing(toy_recipe, toy_data: Path, tmp_path: Path) -> None:
    (toy_data / "red.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"dataset toy, record \w+-red: not a readable image: .*red\.png"):
        run.train(load_recipe(toy_recipe(), 1, {"max_steps": "4"}))
    assert [path.name for path in (tmp_path / "runs/toy").iterdir()] == ["logs"]


@pytest.mark.parametrize(
    ("stage", "overrides", "message"),
    [
        (1, {"mixture.datasets": "[{name: a, records: nowhere.jsonl}]"}, r"nowhere\.jsonl does not exist"),
        (1, {"mixture": "mixture.yaml"}, r"no such mixture file: mixture\.yaml"),
        (1, {"max_length": "20"}, r"longer than max_length=20"),
        (1, {"deepspeed": "zero9.json"}, r"deepspeed: no such configuration file: zero9\.json"),
        (1, {"model.tokenizer": "nowhere/at/all"}, r"model\.tokenizer: cannot load"),
        (1, {"model": "{}"}, r"model\.tokenizer"),
        (1, {"model.text.hidden": "3"}, r"unknown setting model\.text\.hidden"),
        (1, {"model.visual": "none"}, r"unknown setting model\.visual"),
        (2, {}, r"no stage 1 result at .*stage1; run stage 1 first"),
    ],
)
def test_mistakes_are_refused_before_the_model_is_built(
    toy_recipe, monkeypatch: pytest.MonkeyPatch, stage: int, overrides: dict[str, str], message: str
) -> None:
    monkeypatch.setattr(family_rsunivlm, "load_model", refuse_to_build)
    with pytest.raises(ValueError, match=message):
        run.train(load_recipe(toy_recipe(), stage, overrides))


def test_a_start_that_does_not_fit_the_stage_is_refused_before_the_model_is_built(
    toy_recipe, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(family_rsunivlm, "load_model", refuse_to_build)
    start = {"init_from": str(tiny_checkpoint)}
    with pytest.raises(ValueError, match="3 experts: run stage 2 to train these further, or set init_from"):
        run.train(load_recipe(toy_recipe(), 1, start))
    with pytest.raises(
        ValueError, match=r"max_length=4097 is above .* context of 4096 tokens; set max_length="
    ):
        run.train(load_recipe(toy_recipe(), 2, {**start, "max_length": "4097"}))


@pytest.mark.parametrize(
    ("found", "gpu", "message"),
    [
        (False, True, "pip install 'liger-kernel"),
        (True, False, "needs a GPU .*; leave fused_loss out"),
        (True, True, r"shards \(ZeRO 3\); take scripts/zero2\.json"),
    ],
)
def test_a_fused_loss_that_cannot_run_is_refused_before_the_model_is_built(
    toy_recipe, monkeypatch: pytest.MonkeyPatch, found: bool, gpu: bool, message: str
) -> None:
    monkeypatch.setattr(family_rsunivlm, "load_model", refuse_to_build)
    monkeypatch.setattr(run, "find_spec", lambda _: found or None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    zero3 = Path(__file__).resolve().parents[2] / "scripts/zero3.json"
    with pytest.raises(ValueError, match=f"fused_loss=liger .*{message}"):
        run.train(load_recipe(toy_recipe(), 1, {"fused_loss": "liger", "deepspeed": str(zero3)}))


def test_an_empty_dataset_is_refused(toy_recipe, toy_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(family_rsunivlm, "load_model", refuse_to_build)
    (toy_data / "train.jsonl").write_text("\n")
    with pytest.raises(ValueError, match=r"toy.*train\.jsonl is empty"):
        run.train(load_recipe(toy_recipe(), 1))


def test_incomplete_checkpoints_are_refused(toy_recipe, tiny_checkpoint: Path, monkeypatch) -> None:
    monkeypatch.setattr(family_rsunivlm, "load_model", refuse_to_build)
    recipe = load_recipe(toy_recipe(), 2, {"init_from": str(tiny_checkpoint)})
    weights = tiny_checkpoint / "model.safetensors"
    tensors = load_file(weights)
    lost = "model.multi_modal_projector.linear_1.bias"
    save_file({name: tensor for name, tensor in tensors.items() if name != lost}, weights)
    with pytest.raises(ValueError, match=rf"lacks 1 weight\(s\): {lost}"):
        run.train(recipe)
    weights.write_bytes(weights.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        run.train(recipe)
    weights.unlink()
    with pytest.raises(ValueError, match=r"lacks .* weight"):
        run.train(recipe)
    config = json.loads((tiny_checkpoint / "config.json").read_text())
    (tiny_checkpoint / "config.json").write_text(json.dumps({**config, "model_type": "llava"}))
    with pytest.raises(ValueError, match="'llava', not 'rsunivlm'; set init_from to a checkpoint"):
        run.train(recipe)
    (tiny_checkpoint / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        run.train(recipe)
    (tiny_checkpoint / "config.json").unlink()
    with pytest.raises(ValueError, match=r"has no config\.json"):
        run.train(recipe)


def test_vision_weights_come_from_a_file(toy_recipe, make_tiny_model, tmp_path: Path) -> None:
    backbone = make_tiny_model(seed=5).model.vision_tower.backbone.state_dict()
    save_file(backbone, tmp_path / "vit.safetensors")
    # The tiny model of the tests has no class token; neither may the recipe's.
    arguments = {"img_size": 32, "embed_dim": 32, "depth": 2, "num_heads": 2, "class_token": False}
    overrides = {
        "model.vision.weights": str(tmp_path / "vit.safetensors"),
        "model.vision.timm_args": json.dumps({**arguments, "global_pool": "avg"}),
    }
    recipe = load_recipe(toy_recipe(), 1, overrides)
    model = build.load_model(recipe, build.load_processor(recipe))
    assert all(
        tensor.equal(backbone[name])
        for name, tensor in model.model.vision_tower.backbone.state_dict().items()
    )
    save_file({"x": torch.zeros(1)}, tmp_path / "vit.safetensors")
    with pytest.raises(ValueError, match=r"model\.vision\.weights: .*vit\.safetensors lacks"):
        build.load_model(recipe, build.load_processor(recipe))


def test_number_embeddings_begin_on_a_curve(toy_recipe) -> None:
    def numbers(start: str) -> torch.Tensor:
        recipe = load_recipe(toy_recipe(), 1, {"model.number_embeddings": start})
        processor = build.load_processor(recipe)
        weight = build.load_model(recipe, processor).get_input_embeddings().weight
        rows = weight[[processor.tokenizer.convert_tokens_to_ids(str(number)) for number in range(101)]]
        return torch.nn.functional.cosine_similarity(rows[50:51, :32], rows[:, :32], dim=-1)  # of 64

    ordered, drawn = numbers("sine"), numbers("random")
    assert ordered[50:54].tolist() == sorted(ordered[50:54].tolist(), reverse=True)
    torch.testing.assert_close(ordered[51], torch.logspace(0, -2, 16).cos().mean())
    assert ordered[51] > 0.9 > 0.6 > drawn.sort().values[-2]  # the largest is 50 itself
    assert ordered[[10, 90]].max() < 0.6
    with pytest.raises(ValueError, match="number_embeddings is sine or random, not 'cosine'"):
        numbers("cosine")
