"""Image embeddings computed before training: used, exact, bounded, and refused where they would go stale."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rsunivlm.data.features import FeatureFile
from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMModel
from rsunivlm.training import run
from rsunivlm.training.recipe import load_recipe


@pytest.fixture
def stage1(toy_recipe) -> None:
    run.train(load_recipe(toy_recipe(), 1))


def train(toy_recipe, tmp_path: Path, name: str, **settings: str) -> tuple[dict[str, torch.Tensor], list]:
    overrides = {"output": str(tmp_path / name), **settings}
    folder = run.train(load_recipe(toy_recipe(), 2, overrides))
    report = json.loads((folder / "training.json").read_text())
    return load_file(folder / "model.safetensors"), report["loss"]["curve"]


@pytest.mark.usefixtures("stage1")
@pytest.mark.parametrize("packing", ["false", "true"])
def test_losses_equal_those_of_live_images_to_the_precision_of_the_file(
    toy_recipe, tmp_path: Path, packing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"packing": packing, "max_length": "600", "batch_size": "1" if packing == "true" else "4"}
    _, live = train(toy_recipe, tmp_path, "live", **settings)
    cache = str(tmp_path / "cache")
    weights, cached = train(toy_recipe, tmp_path, "cached", feature_cache=cache, **settings)
    for (_, expected), (_, found) in zip(live, cached, strict=True):
        assert found == pytest.approx(expected, abs=2e-2)

    def refuse(*_: object) -> None:
        raise AssertionError("the tower ran")

    # All embeddings are in the file: a second run needs no tower, and gives the same weights.
    monkeypatch.setattr(RSUniVLMModel, "get_image_features", refuse)
    again, _ = train(toy_recipe, tmp_path, "again", feature_cache=cache, **settings)
    assert all(again[name].equal(weights[name]) for name in weights)


@pytest.mark.usefixtures("stage1")
def test_images_beyond_the_limit_are_computed_in_every_step(toy_recipe, tmp_path: Path) -> None:
    one_image = 2 * 4 * 64 / 1e9
    cache = tmp_path / "cache"
    settings = {"feature_cache": str(cache), "feature_cache_gb": f"{2.5 * one_image:.12f}"}
    _, some = train(toy_recipe, tmp_path, "some", **settings)
    (file,) = cache.glob("*.bin")
    assert file.stat().st_size == 2 * 2 * 4 * 64
    _, live = train(toy_recipe, tmp_path, "live")
    for (_, expected), (_, found) in zip(live, some, strict=True):
        assert found == pytest.approx(expected, abs=2e-2)


def test_a_stage_that_trains_the_tower_is_refused(toy_recipe, tmp_path: Path) -> None:
    recipe = load_recipe(toy_recipe(), 1, {"feature_cache": str(tmp_path / "cache")})
    with pytest.raises(ValueError, match="not trained"):
        run.train(recipe)


def test_a_changed_image_has_another_file(tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    image.write_bytes(b"1")
    key = [(str(tmp_path), "a.png")]
    before = FeatureFile.plan(tmp_path, "owner", key, (4, 8), 1.0)
    image.write_bytes(b"22")
    after = FeatureFile.plan(tmp_path, "owner", key, (4, 8), 1.0)
    assert before.path != after.path
    after.create()
    assert after.missing() == key
    values = torch.randn(1, 4, 8).bfloat16()
    after.write(key, values)
    assert after.missing() == []
    found = after.read(key)
    assert found is not None
    assert found.equal(values)
    assert after.read([(str(tmp_path), "b.png")]) is None
