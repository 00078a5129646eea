"""Samples to a training batch: padded on the right, rows sorted by expert.

Sorted rows make each expert's work one slice, and the slice sizes (`expert_splits`) are counted here, on the
host, so that the model never waits for the device to learn them.

Shapes: B rows, L positions, N images of all rows in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rsunivlm.data.dataset import Sample
from rsunivlm.models.rsunivlm.processing_rsunivlm import IGNORED

LENGTH_STEP = 32


@dataclass(frozen=True)
class Collator:
    """Make batches for a model.

    Lengths are rounded up to a multiple of `LENGTH_STEP`: matrix kernels are chosen (on CPUs: compiled) per
    shape, and tensor cores want multiples of 8.

    Attributes:
        pad_token_id: fills `input_ids` behind a sample's end.
        num_experts: experts of the model; 1 sends every row through the only one.
    """

    pad_token_id: int
    num_experts: int

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """Collate samples.

        Returns:
            `input_ids`, `attention_mask`, `labels` [B, L]; `pixel_values` [N, 3, H, W]; `expert_ids` [B];
            `expert_splits`, rows per expert as a tuple of ints.
        """
        experts = [sample.expert_id if self.num_experts > 1 else 0 for sample in samples]
        order = sorted(range(len(samples)), key=experts.__getitem__)  # stable
        rows = [samples[index] for index in order]
        longest = max(len(row.input_ids) for row in rows)
        length = -(-longest // LENGTH_STEP) * LENGTH_STEP
        return {
            "input_ids": _pad([row.input_ids for row in rows], length, self.pad_token_id),
            "attention_mask": _pad([torch.ones_like(row.input_ids) for row in rows], length, 0),
            "labels": _pad([row.labels for row in rows], length, IGNORED),
            "pixel_values": torch.cat([row.pixel_values for row in rows]),
            "expert_ids": torch.tensor([experts[index] for index in order]),
            "expert_splits": tuple(experts.count(expert) for expert in range(self.num_experts)),
        }


def _pad(rows: Sequence[torch.Tensor], length: int, value: int) -> torch.Tensor:
    return torch.stack([torch.nn.functional.pad(row, (0, length - len(row)), value=value) for row in rows])
