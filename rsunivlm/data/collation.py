"""Samples to a training batch: rows padded on the right, or one packed row; sorted by expert either way.

Sorted rows make each expert's work one slice, and the slice sizes (`expert_splits`) are counted here, on the
host, so that the model never waits for the device to learn them.

Beside what the model takes, a batch carries `info`, which tells the training loop whose tokens these are; the
loop takes it out before the model is called.

Shapes: B rows, L positions, N images of all rows in order.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rsunivlm.data.dataset import BadImage, Sample
from rsunivlm.models.rsunivlm.processing_rsunivlm import IGNORED

LENGTH_STEP = 32


@dataclass(frozen=True)
class BatchInfo:
    """The samples of a batch, in the order of its rows or segments.

    Attributes:
        names: dataset and record of each sample.
        tasks: task of each sample.
        lengths: tokens of each sample.
        supervised: supervised tokens of each sample, which stand in this order in `loss_positions`.
        bad: the samples that were left out because an image cannot be read.
    """

    names: tuple[str, ...]
    tasks: tuple[str, ...]
    lengths: tuple[int, ...]
    supervised: tuple[int, ...]
    bad: tuple[BadImage, ...]

    @classmethod
    def of(cls, rows: Sequence[Sample], given: Sequence[Sample]) -> BatchInfo:
        """Describe the rows that were made of the given samples."""
        return cls(
            names=tuple(row.name for row in rows),
            tasks=tuple(row.task for row in rows),
            lengths=tuple(len(row.input_ids) for row in rows),
            supervised=tuple(int((row.labels != IGNORED).sum()) for row in rows),
            bad=tuple(sample.bad for sample in given if sample.bad is not None),
        )


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
            `input_ids`, `attention_mask`, `labels` [B, L]; `loss_positions` [M], those of the flattened batch
            before a supervised token; the images, see `_images`; `expert_ids` [B]; `expert_splits`, rows
            per expert as a tuple of ints; `info`, a `BatchInfo`.
        """
        usable = _usable(samples)
        experts = [sample.expert_id if self.num_experts > 1 else 0 for sample in usable]
        order = sorted(range(len(usable)), key=experts.__getitem__)  # stable
        rows = [usable[index] for index in order]
        longest = max(len(row.input_ids) for row in rows)
        length = -(-longest // LENGTH_STEP) * LENGTH_STEP
        labels_BL = _pad([row.labels for row in rows], length, IGNORED)
        return {
            "input_ids": _pad([row.input_ids for row in rows], length, self.pad_token_id),
            "attention_mask": _pad([torch.ones_like(row.input_ids) for row in rows], length, 0),
            "labels": labels_BL,
            "loss_positions": _before_supervised(labels_BL),
            **_images(rows),
            "expert_ids": torch.tensor([experts[index] for index in order]),
            "expert_splits": tuple(experts.count(expert) for expert in range(self.num_experts)),
            "info": BatchInfo.of(rows, samples),
        }


@dataclass(frozen=True)
class PackCollator:
    """Make one packed row of the samples of one or more packs.

    Samples stand one behind the other, sorted by expert, so that each expert's tokens are one slice. The row
    is filled up to a multiple of `LENGTH_STEP` by a segment of padding, which no loss falls on.

    Attributes:
        pad_token_id: fills the last segment.
        num_experts: experts of the model; 1 sends every token through the only one.
    """

    pad_token_id: int
    num_experts: int

    def __call__(self, packs: Sequence[Sequence[Sample]]) -> dict[str, Any]:
        """Collate packs.

        Returns:
            `input_ids`, `position_ids`, `labels` [1, L]; `loss_positions` [M], those before a supervised
            token; `segment_lengths` and `expert_splits` (tokens per expert), tuples of ints summing to L;
            the images in the order of the segments, see `_images`; `info`, a `BatchInfo`.
        """
        given = [sample for pack in packs for sample in pack]
        samples = _usable(given)
        experts = [sample.expert_id if self.num_experts > 1 else 0 for sample in samples]
        order = sorted(range(len(samples)), key=experts.__getitem__)  # stable
        segments = [samples[index] for index in order]
        lengths = [len(segment.input_ids) for segment in segments]
        splits = [0] * self.num_experts
        for index, length in zip(order, lengths, strict=True):
            splits[experts[index]] += length
        ids = [segment.input_ids for segment in segments]
        labels = [segment.labels for segment in segments]
        if rest := -sum(lengths) % LENGTH_STEP:
            ids.append(torch.full((rest,), self.pad_token_id))
            labels.append(torch.full((rest,), IGNORED))
            lengths.append(rest)
            splits[-1] += rest
        labels_L = torch.cat(labels)
        return {
            "input_ids": torch.cat(ids)[None],
            "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
            "labels": labels_L[None],
            "loss_positions": _before_supervised(labels_L),
            "segment_lengths": tuple(lengths),
            "expert_splits": tuple(splits),
            **_images(segments),
            "info": BatchInfo.of(segments, given),
        }


def _usable(samples: Sequence[Sample]) -> list[Sample]:
    """The samples without the bad ones; of a batch that has no others, the first, which trains nothing.

    Every process must run every part of the model in every pass, or the others would wait for it.
    """
    return [sample for sample in samples if sample.bad is None] or list(samples[:1])


def _images(samples: Sequence[Sample]) -> dict[str, torch.Tensor]:
    """`pixel_values` [n, 3, H, W] of the images to encode and `image_features` [m, S, D] of the others.

    Where there are both, `image_order` [N] says for each image of the batch, in order, where it stands among
    the known ones followed by the encoded ones.
    """
    known = [sample.image_features for sample in samples if sample.image_features is not None]
    pixels = [sample.pixel_values for sample in samples if sample.pixel_values is not None]
    found = {}
    if known:
        found["image_features"] = torch.cat(known)
    if pixels:
        found["pixel_values"] = torch.cat(pixels)
    if known and pixels:
        num_known = sum(map(len, known))
        next_known, next_encoded = itertools.count(), itertools.count(num_known)
        order = []
        for sample in samples:
            if sample.image_features is not None:
                order += [next(next_known) for _ in sample.image_features]
            elif sample.pixel_values is not None:
                order += [next(next_encoded) for _ in sample.pixel_values]
        found["image_order"] = torch.tensor(order)
    return found


def _pad(rows: Sequence[torch.Tensor], length: int, value: int) -> torch.Tensor:
    return torch.stack([torch.nn.functional.pad(row, (0, length - len(row)), value=value) for row in rows])


def _before_supervised(labels: torch.Tensor) -> torch.Tensor:
    """Positions, in the flattened batch, of the tokens whose next token is supervised.

    A sample's first token never is, so no position looks across the border of a row or of a segment.
    """
    return (labels.flatten()[1:] != IGNORED).nonzero().flatten()
