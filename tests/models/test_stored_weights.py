"""Stored weights have the checksum of the loaded model, from any number of files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText

from rsunivlm.models.checksum import weights_checksum
from rsunivlm.models.stored_weights import find_weights, stored_checksum


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_checksum_of_files_is_that_of_the_loaded_model(dtype, make_tiny_model, tmp_path: Path) -> None:
    model = make_tiny_model(num_experts=3, image_newline=True).to(torch.bfloat16)
    model.save_pretrained(tmp_path, max_shard_size="100KB")
    weights = find_weights(tmp_path)
    assert weights.dtypes == ("BF16",)
    assert len(set(weights.files.values())) > 1
    assert weights.num_bytes == sum(file.stat().st_size for file in tmp_path.glob("*.safetensors"))
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path, dtype=dtype)
    assert stored_checksum(model.config, weights, dtype) == weights_checksum(loaded)


def test_missing_and_damaged_files(make_tiny_model, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no safetensors file"):
        find_weights(tmp_path)
    model = make_tiny_model()
    model.save_pretrained(tmp_path)
    weights = find_weights(tmp_path)
    first = next(iter(weights.files))
    cut = type(weights)({name: file for name, file in weights.files.items() if name != first}, weights.dtypes)
    with pytest.raises(ValueError, match="lacks weights"):
        stored_checksum(model.config, cut, torch.float32)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match="weight file is damaged"):
        find_weights(tmp_path)
