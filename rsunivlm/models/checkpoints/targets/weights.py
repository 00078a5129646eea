"""Weights of an export: the parts of a layout, taken out of a dense view."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rsunivlm.models.checkpoints.parts import Index, Part
from rsunivlm.models.checkpoints.reading import first_line
from rsunivlm.models.checkpoints.targets.dense_view import DenseView


class SafetensorsFile:
    """The tensors of one safetensors file, read on demand.

    Raises:
        ValueError: There is no such file, or it is damaged.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = safe_open(path, framework="pt")
        except (OSError, SafetensorError) as error:
            raise ValueError(f"cannot read {path}: {first_line(error)}") from error

    def names(self) -> list[str]:
        """All names."""
        return list(self._file.keys())

    def read(self, name: str, index: Index = ()) -> Tensor:
        """A tensor, or a part of it."""
        return self._file.get_slice(name)[index] if index else self._file.get_tensor(name)


def write_parts(view: DenseView, parts: Iterable[Part], folder: Path) -> torch.dtype:
    """Write a layout's tensors into `model.safetensors`.

    Args:
        view: Where they come from.
        parts: The layout; optional parts that the view lacks are left out.
        folder: Where the file goes.

    Returns:
        Type of the tensors.

    Raises:
        ValueError: The checkpoint lacks a tensor that the layout needs.
    """
    names = set(view.names())
    state = {}
    for part in parts:
        if part.ours in names:
            state[part.foreign] = view.read(part.ours, part.index).contiguous()
        elif not part.optional:
            raise ValueError(f"the checkpoint lacks {part.ours}")
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return next(iter(state.values())).dtype
