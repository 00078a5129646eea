"""Losses of ten steps, pinned: a change that is not meant to change numbers must leave them as they are.

A change that is meant to is recorded with `python tests/training/test_golden.py` and explained in its commit.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data_tools.tokenizer import train_tokenizer
from rsunivlm.data.records import Record, Turn, write_records
from rsunivlm.tasks import Task, render_prompt
from rsunivlm.training import run
from rsunivlm.training.recipe import Recipe

GOLDEN = Path(__file__).with_name("golden_losses.json")
LAYOUTS = {
    "padded": {"batch_size": 3},
    "packed": {"batch_size": 1, "packing": True, "share_images": 0},
    "shared": {"batch_size": 1, "packing": True, "share_images": 3},
}
COLOURS = ("red", "green", "blue", "grey")
MODEL = {
    "vision": {
        "timm_model": "vit_tiny_patch16_224",
        "timm_args": {"img_size": 32, "embed_dim": 32, "depth": 2, "num_heads": 2},
        "feature_index": 1,
        "image_size": 32,
        "hidden_size": 32,
        "tokens_per_side": 2,
    },
    "text": {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    },
}


def make_data(folder: Path) -> None:
    """Four pictures of random blocks and three records about each."""
    generator = np.random.default_rng(0)
    records = []
    for index, name in enumerate(COLOURS):
        blocks = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
        Image.fromarray(blocks).save(folder / f"{name}.png")
        turns = {
            Task.VQA: (render_prompt(Task.VQA, question="Which colour?"), name),
            Task.VG: (render_prompt(Task.VG, expression=f"the {name} field"), f"[{index}, 10, 50, 100]"),
            Task.SS: (render_prompt(Task.SS, label=name), f"{name}*4\nothers*{index + 1}, {name}*2"),
        }
        records += [
            Record(f"{task}-{name}", (f"{name}.png",), (Turn(*turn),), task) for task, turn in turns.items()
        ]
    write_records(folder / "train.jsonl", records)
    train_tokenizer(
        [" ".join(COLOURS), "others*4, building*2", "the field of"] * 20,
        vocab_size=600,
        out=folder / "tokens",
    )


def losses(folder: Path, layout: str) -> dict[str, list[float]]:
    """Ten steps of each stage in float32 on one thread."""
    make_data(folder)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = {}
    for stage in (1, 2):
        recipe = Recipe(
            name="golden",
            stage=stage,
            mixture={"datasets": [{"name": "golden", "records": str(folder / "train.jsonl")}]},
            model={"tokenizer": str(folder / "tokens"), **MODEL} if stage == 1 else {},
            init_from=str(folder / "stage1") if stage == 2 else "",
            output=str(folder / f"stage{stage}"),
            precision="fp32",
            max_steps=10,
            **LAYOUTS[layout],
            max_length=128,
            learning_rate=1e-3,
            log_every=1,
            log_to="none",
        )
        run.train(recipe)
        report = json.loads((folder / f"stage{stage}/training.json").read_text())
        found[f"stage {stage}"] = [loss for _, loss in report["loss"]["curve"]]
    torch.set_num_threads(threads)
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_losses_are_those_on_record(tmp_path: Path, layout: str) -> None:
    expected = json.loads(GOLDEN.read_text())[layout]
    found = losses(tmp_path, layout)
    for stage, curve in expected.items():
        assert len(curve) == 10
        # Relative: the spacing of float32 numbers at the first losses is 5e-7 already.
        assert found[stage] == pytest.approx(curve, rel=1e-6), stage


if __name__ == "__main__":
    record = {}
    for name in LAYOUTS:
        with tempfile.TemporaryDirectory() as temporary:
            record[name] = losses(Path(temporary), name)
    GOLDEN.write_text(json.dumps(record, indent=1) + "\n")
