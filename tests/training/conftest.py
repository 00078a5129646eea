"""A data set of eight coloured pictures and a recipe that trains a tiny model on it in seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from rsunivlm.data.records import Record, Turn, write_records
from rsunivlm.tasks import Task, render_prompt

COLOURS = {"red": (220, 30, 30), "green": (30, 160, 60), "blue": (30, 60, 200), "grey": (120, 120, 120)}


@pytest.fixture
def toy_data(tmp_path: Path) -> Path:
    """Records of all three granularities, of different lengths, one with two images."""
    folder = tmp_path / "data"
    folder.mkdir()
    records = []
    for index, (name, colour) in enumerate(COLOURS.items()):
        Image.new("RGB", (40, 40), colour).save(folder / f"{name}.png")
        image = (f"{name}.png",)
        vqa = Turn(render_prompt(Task.VQA, question="Which colour?"), name)
        vg = Turn(render_prompt(Task.VG, expression=f"the {name} field"), f"[{index}, 0, 50, 100]")
        reg = Turn(render_prompt(Task.REG, box="[0, 0, 9, 9]"), f"a {name} field beside another {name} field")
        seg = Turn(render_prompt(Task.SS, label=name), f"{name}*4\nothers*{index + 1}, {name}*2")
        change = Turn(render_prompt(Task.CC), "the scene is the same as before .")
        records += [
            Record(f"vqa-{name}", image, (vqa,), Task.VQA),
            Record(f"box-{name}", image, (vg, reg), Task.VG),
            Record(f"seg-{name}", image, (seg,), Task.SS),
            Record(f"change-{name}", image * 2, (change,), Task.CC),
        ]
    write_records(folder / "train.jsonl", records)
    return folder


@pytest.fixture
def tiny_vision() -> dict[str, Any]:
    """A vision tower of four tokens, as a recipe describes it."""
    return {
        "timm_model": "vit_tiny_patch16_224",
        "timm_args": {"img_size": 32, "embed_dim": 32, "depth": 2, "num_heads": 2},
        "feature_index": 1,
        "image_size": 32,
        "hidden_size": 32,
        "tokens_per_side": 2,
    }


@pytest.fixture
def toy_recipe(
    toy_data: Path, tiny_tokenizer_dir: Path, tiny_vision: dict[str, Any], tmp_path: Path
) -> Callable[..., Path]:
    """Writes a recipe file; keywords replace its settings."""

    def write(**settings: Any) -> Path:
        content = {
            "mixture": {"datasets": [{"name": "toy", "records": str(toy_data / "train.jsonl")}]},
            "model": {
                "tokenizer": str(tiny_tokenizer_dir),
                "vision": tiny_vision,
                "text": {
                    "hidden_size": 64,
                    "intermediate_size": 96,
                    "num_hidden_layers": 2,
                    "num_attention_heads": 2,
                    "num_key_value_heads": 1,
                },
            },
            "stage1": {"output": str(tmp_path / "runs/toy/stage1")},
            "stage2": {
                "output": str(tmp_path / "runs/toy/stage2"),
                "init_from": str(tmp_path / "runs/toy/stage1"),
            },
            "learning_rate": 1e-3,
            "max_steps": 3,
            "log_every": 1,
        }
        path = tmp_path / "toy.yaml"
        path.write_text(yaml.safe_dump({**content, **settings}), encoding="utf-8")
        return path

    return write
