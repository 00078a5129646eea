"""What is exported where, what is refused, and the dense checkpoints of our own."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save

from rsunivlm.cli import main
from rsunivlm.inference.loading import load_checkpoint
from rsunivlm.models.checkpoints.export import export_checkpoint
from rsunivlm.models.rsunivlm.upcycling import extract_expert, upcycle_low_rank, upcycle_token_routed
from rsunivlm.tasks import TOKEN_GRANULARITY, Granularity


def low_rank(model) -> None:
    upcycle_low_rank(model, 4)
    with torch.no_grad():
        for layer in model.model.language_model.layers:
            for change in layer.mlp.low_rank:
                change.normal_(std=0.2)


@pytest.mark.parametrize(("prepare", "experts"), [(None, 3), (low_rank, 1)], ids=["full", "low-rank"])
def test_dense_checkpoints_equal_extracted_experts(
    make_siglip_checkpoint, tmp_path: Path, prepare, experts: int
) -> None:
    model, folder = make_siglip_checkpoint(prepare, num_experts=experts, random_experts_seed=7)
    for level in Granularity:
        target = tmp_path / "deeper" / level.name
        written = export_checkpoint(folder, target, granularity=level.name.lower(), format="safetensors")
        assert written == [target]
        dense, processor = load_checkpoint(target)
        expected = extract_expert(copy.deepcopy(model), int(level))
        state = dense.state_dict()
        assert state.keys() == expected.state_dict().keys()
        assert all(torch.equal(state[name], tensor) for name, tensor in expected.state_dict().items())
        assert dense.config.text_config.is_dense
        assert dense.config.random_experts_seed is None
        assert processor.random_experts_seed is None
        again = export_checkpoint(target, tmp_path / "again" / level.name, format="safetensors")
        assert (again[0] / "model.safetensors").read_bytes() == (target / "model.safetensors").read_bytes()


def test_all_writes_a_folder_per_granularity_and_the_routes(
    make_siglip_checkpoint, tmp_path: Path, capsys
) -> None:
    _, folder = make_siglip_checkpoint()
    target = tmp_path / "out"
    target.mkdir()  # empty: may be there
    assert main(["export", str(folder), str(target)]) == 0
    names = ["image", "region", "pixel"]
    assert capsys.readouterr().out.split() == [
        word for name in names for word in ("wrote", str(target / name))
    ]
    assert sorted(path.name for path in target.iterdir()) == sorted([*names, "routes.json"])
    routes = json.loads((target / "routes.json").read_text())
    assert routes == {token: level.name.lower() for token, level in TOKEN_GRANULARITY.items()}
    assert [path.name for path in tmp_path.glob(".*")] == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "nowhere"}, "no checkpoint folder nowhere"),
        ({"target": "."}, "exists and is not an empty folder"),
        ({"granularity": "scene"}, "unknown granularity 'scene'; there are image, region, pixel and all"),
        ({"format": "onnx"}, "unknown format 'onnx'; there are llava-hf"),
    ],
)
def test_mistakes_end_with_one_line(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch, capsys, options: dict[str, str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    chosen = {"model": str(tiny_checkpoint), "target": "out", "granularity": "all", "format": "qwen2"}
    chosen |= options
    arguments = ["export", chosen["model"], chosen["target"]]
    for name in ("granularity", "format"):
        arguments += [f"--{name}", chosen[name]]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def token_routed(model) -> None:
    upcycle_token_routed(model, num_experts=4, top_k=2)


@pytest.mark.parametrize(
    ("prepare", "fields", "granularity", "words"),
    [
        (token_routed, {"num_experts": 1}, "all", "chooses experts per token"),
        (None, {"num_experts": 1}, "pixel", "dense and has no pixel expert; export it with granularity all"),
        (None, {"num_experts": 2}, "all", "has 2 experts"),
        (None, {"image_newline": True}, "all", r"\(5 tokens an image\).*safetensors.*qwen2"),
        (None, {"visual_position": "sine2d"}, "all", "sine2d positions"),
        (None, {"vision_config": None}, "all", "no SigLIP tower"),
    ],
)  # fmt: skip
def test_models_that_cannot_leave_are_refused(
    make_siglip_checkpoint, tmp_path: Path, prepare, fields, granularity: str, words: str
) -> None:
    _, folder = make_siglip_checkpoint(prepare, **fields)
    with pytest.raises(ValueError, match=words):
        export_checkpoint(folder, tmp_path / "out", granularity=granularity)
    assert [path.name for path in tmp_path.iterdir()] == ["ours"]


def test_wrong_weights_are_refused(make_siglip_checkpoint, tmp_path: Path) -> None:
    _, folder = make_siglip_checkpoint()
    weights = folder / "model.safetensors"
    whole = load_file(weights)
    norm = whole.pop("model.language_model.norm.weight")
    contents = {
        "damaged": weights.read_bytes()[:-9],
        r"norm\.weight and 0 other": save(whole),
        r"norm\.weight and 1 other": save(whole | {"model.language_model.norm.weight": norm[1:]}),
        r"cls_token and 0 other": save(
            whole | {"model.language_model.norm.weight": norm, "cls_token": norm + 1}
        ),
    }
    for words, content in contents.items():
        weights.write_bytes(content)
        with pytest.raises(ValueError, match=words):
            export_checkpoint(folder, tmp_path / "out")
    weights.unlink()
    with pytest.raises(ValueError, match="no weights"):
        export_checkpoint(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
