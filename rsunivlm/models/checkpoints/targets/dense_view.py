"""One expert of a checkpoint, read as the dense model that it is.

A file with three granularity experts holds three dense models that share all but their feed-forward
networks. The view reads such a file piece by piece as if the dense model of one expert were stored there:
`extract_expert` without loading the model. Low-rank changes are folded into the shared network, one layer at
a time.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from rsunivlm.models.checkpoints.files import StoredTensor
from rsunivlm.models.checkpoints.parts import Index, element_range
from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMConfig
from rsunivlm.models.rsunivlm.low_rank_experts import fold, fold_gate_up

GATE_UP, DOWN = ".mlp.gate_up_proj", ".mlp.down_proj"
LOW_RANK = (".mlp.gate_up_a", ".mlp.gate_up_b", ".mlp.down_a", ".mlp.down_b")


class DenseView:
    """The tensors of the dense model that one expert is.

    Args:
        tensors: Of a checkpoint of ours: name -> place on disk.
        config: Its configuration; of a dense model, of granularity experts or of low-rank ones.
        expert: Which expert; a dense model has only 0.

    Attributes:
        config: Of the dense model.
    """

    def __init__(self, tensors: Mapping[str, StoredTensor], config: RSUniVLMConfig, expert: int) -> None:
        self._tensors = tensors
        self._low_rank = config.text_config.expert_rank > 0
        self._expert = expert
        self.config = copy.deepcopy(config)
        self.config.text_config = config.text_config.dense()
        self.config.random_experts_seed = None

    def names(self) -> list[str]:
        """All names of the dense model's tensors."""
        return [name for name in self._tensors if not name.endswith(LOW_RANK)]

    def meta(self, name: str, index: Index = ()) -> Tensor:
        """Type and shape of a tensor or of a part of it: a tensor on the meta device."""
        stored = self._tensors[name]
        shape = (1, *stored.shape[1:]) if name.endswith((GATE_UP, DOWN)) else stored.shape
        return torch.empty(element_range(shape, index)[1], dtype=stored.dtype, device="meta")

    def chunks(self, name: str, index: Index = ()) -> Iterator[Tensor]:
        """The elements of a tensor or of a part of it, in order; each chunk is valid until the next.

        Raises:
            ValueError: A file became shorter while it was read.
        """
        network = name.endswith((GATE_UP, DOWN))
        if network and self._low_rank:
            yield self._folded(name)[None][index].flatten()
        else:
            # Ours is [E, m, n], the dense model's [1, m, n].
            first = slice(self._expert, self._expert + 1) if not index else self._expert
            yield from _part(self._tensors[name], (first, *index[1:]) if network else index).chunks()

    def load(self, name: str, index: Index = ()) -> Tensor:
        """A tensor, or a part of it, as a whole."""
        return _whole(self.chunks(name, index)).view(self.meta(name, index).shape)

    def _folded(self, name: str) -> Tensor:
        fold_network, stem = (fold_gate_up, "gate_up") if name.endswith(GATE_UP) else (fold, "down")
        prefix = name.removesuffix(f"{stem}_proj")
        changes = [self._stored(f"{prefix}{stem}_{letter}", self._expert) for letter in "ab"]
        return fold_network(self._stored(name, 0), *changes)

    def _stored(self, name: str, first: int) -> Tensor:
        part = _part(self._tensors[name], (first,))
        return _whole(part.chunks()).view(part.shape)


def _part(stored: StoredTensor, index: Index) -> StoredTensor:
    first, shape = element_range(stored.shape, index)
    return replace(stored, offset=stored.offset + first * stored.dtype.itemsize, shape=shape)


def _whole(chunks: Iterator[Tensor]) -> Tensor:
    return torch.cat([chunk.clone() for chunk in chunks])
