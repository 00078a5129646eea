"""Weights of an export: the parts of a layout, copied out of a dense view piece by piece."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from rsunivlm.models.checkpoints.parts import Part
from rsunivlm.models.checkpoints.targets.dense_view import DenseView
from rsunivlm.models.checkpoints.writing import ShardWriter


def write_parts(view: DenseView, parts: Sequence[Part], folder: Path) -> torch.dtype:
    """Write a layout's tensors as safetensors.

    Args:
        view: Where they come from.
        parts: The layout; optional parts that the view lacks are left out.
        folder: Where the files go.

    Returns:
        Type of the tensors.
    """
    names = set(view.names())
    chosen = [part for part in parts if not part.optional or part.ours in names]
    layout = {part.foreign: view.meta(part.ours, part.index) for part in chosen}
    with ShardWriter(folder, layout) as writer:
        for part in chosen:
            first = 0
            for chunk in view.chunks(part.ours, part.index):
                writer.write(part.foreign, first, chunk)
                first += chunk.numel()
    return layout[chosen[0].foreign].dtype
