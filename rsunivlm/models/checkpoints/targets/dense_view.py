"""One expert of a checkpoint, read as the dense model that it is.

A file with three granularity experts holds three dense models that share all but their feed-forward networks.
The view reads such a file tensor by tensor and slice by slice as if the dense model of one expert were stored
there: `extract_expert` without loading the model. Low-rank changes are folded into the shared network, one
layer at a time.
"""

from __future__ import annotations

import copy
from typing import Protocol

from torch import Tensor

from rsunivlm.models.checkpoints.parts import Index
from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMConfig
from rsunivlm.models.rsunivlm.low_rank_experts import fold, fold_gate_up

GATE_UP, DOWN = ".mlp.gate_up_proj", ".mlp.down_proj"
LOW_RANK = (".mlp.gate_up_a", ".mlp.gate_up_b", ".mlp.down_a", ".mlp.down_b")


class Tensors(Protocol):
    """Named tensors that are read on demand."""

    def names(self) -> list[str]:
        """All names."""

    def read(self, name: str, index: Index = ()) -> Tensor:
        """A tensor, or a part of it."""


class DenseView:
    """The tensors of the dense model that one expert is.

    Args:
        tensors: Of a checkpoint of ours.
        config: Its configuration; of a dense model, of granularity experts or of low-rank ones.
        expert: Which expert; a dense model has only 0.

    Attributes:
        config: Of the dense model.
    """

    def __init__(self, tensors: Tensors, config: RSUniVLMConfig, expert: int) -> None:
        self._tensors = tensors
        self._low_rank = config.text_config.expert_rank > 0
        self._expert = expert
        self.config = copy.deepcopy(config)
        self.config.text_config = config.text_config.dense()
        self.config.random_experts_seed = None

    def names(self) -> list[str]:
        """All names of the dense model's tensors."""
        return [name for name in self._tensors.names() if not name.endswith(LOW_RANK)]

    def read(self, name: str, index: Index = ()) -> Tensor:
        """A tensor of the dense model, or a part of it."""
        if not name.endswith((GATE_UP, DOWN)):
            return self._tensors.read(name, index)
        if self._low_rank:
            return self._folded(name)[None][index]
        # Ours is [E, m, n], the dense model's [1, m, n].
        first = self._expert if index else slice(self._expert, self._expert + 1)
        return self._tensors.read(name, (first, *index[1:]))

    def _folded(self, name: str) -> Tensor:
        fold_network, stem = (fold_gate_up, "gate_up") if name.endswith(GATE_UP) else (fold, "down")
        prefix = name.removesuffix(f"{stem}_proj")
        changes = [self._tensors.read(f"{prefix}{stem}_{letter}", (self._expert,)) for letter in "ab"]
        return fold_network(self._tensors.read(name, (0,)), *changes)
