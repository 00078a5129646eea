"""Files that are filled slice by slice are those that the safetensors library would write."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from rsunivlm.models.checkpoints.writing import ShardWriter


def test_slices_in_any_order_fill_the_tensors(tmp_path: Path) -> None:
    torch.manual_seed(0)
    values = {
        "a": torch.randn(7, 3),
        "b": torch.randn(2, 5, 2).bfloat16(),
        "c": torch.randn(9).half(),
        "never written": torch.zeros(3, 3),
    }
    slices = [(name, first) for name in ("a", "b", "c") for first in range(0, values[name].numel(), 4)]
    random.Random(0).shuffle(slices)
    meta = {name: tensor.to("meta") for name, tensor in values.items()}
    with ShardWriter(tmp_path, meta) as writer:
        for name, first in slices:
            # In another type, as where a conversion changes it: float32 holds the others exactly.
            writer.write(name, first, values[name].flatten()[first : first + 4].float())
    assert writer.file_names == ["model.safetensors"]
    stored = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(stored[name], tensor) for name, tensor in values.items())
    assert {name: tensor.dtype for name, tensor in stored.items()} == {
        name: tensor.dtype for name, tensor in values.items()
    }
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_no_shard_is_larger_than_asked(tmp_path: Path) -> None:
    meta = {f"t{index}": torch.empty(100, device="meta") for index in range(10)}
    with ShardWriter(tmp_path, meta, max_shard_size=1000):
        pass
    sizes = [sum(t.nbytes for t in load_file(file).values()) for file in tmp_path.glob("*.safetensors")]
    assert sizes == [800] * 5
    with pytest.raises(ValueError, match="some"):
        ShardWriter(tmp_path, meta, max_shard_size="some")
