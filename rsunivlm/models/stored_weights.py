"""The weights in a checkpoint folder, looked at without building the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from rsunivlm.models.checksum import combine, sum_of_bits
from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMConfig
from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration


@dataclass(frozen=True)
class StoredWeights:
    """Where each tensor of a folder lies.

    Attributes:
        files: Tensor name -> safetensors file.
        dtypes: Number types that occur, as safetensors names them, e.g. `BF16`.
    """

    files: Mapping[str, Path]
    dtypes: tuple[str, ...]

    @property
    def num_bytes(self) -> int:
        """Size of the files together."""
        return sum(file.stat().st_size for file in set(self.files.values()))


def find_weights(folder: Path) -> StoredWeights:
    """Read the headers of all safetensors files of a folder.

    Raises:
        ValueError: There is none, or one is damaged.
    """
    files: dict[str, Path] = {}
    dtypes: set[str] = set()
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt") as weights:
                for name in weights.keys():  # noqa: SIM118 (no mapping)
                    files[name] = file
                    dtypes.add(weights.get_slice(name).get_dtype())
        except SafetensorError as error:
            raise ValueError(f"weight file is damaged: {file} ({error})") from error
    if not files:
        raise ValueError(f"checkpoint folder {folder} has no safetensors file")
    return StoredWeights(files, tuple(sorted(dtypes)))


def stored_checksum(config: RSUniVLMConfig, weights: StoredWeights, dtype: torch.dtype) -> str:
    """The `weights_checksum` of the model that loading these weights as `dtype` would give.

    Raises:
        ValueError: A parameter of the model is not stored.
    """
    with torch.device("meta"):
        names = [name for name, _ in RSUniVLMForConditionalGeneration(config).named_parameters()]
    if missing := [name for name in names if name not in weights.files]:
        raise ValueError(f"the checkpoint lacks weights: {', '.join(missing[:8])}")
    sums: dict[str, int] = {}
    for file in sorted(set(weights.files.values())):
        with safe_open(file, framework="pt") as tensors:
            for name in names:
                if weights.files[name] == file:
                    sums[name] = sum_of_bits(tensors.get_tensor(name).to(dtype))
    return combine([(name, sums[name]) for name in names])
