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
from functools import partial
from typing import Any, Protocol

import torch

from rsunivlm.data.loading import BadImage, Sample
from rsunivlm.models.chat import IGNORED

LENGTH_STEP = 32


class Pictured(Protocol):
    """What shows images: pixels [n, 3, H, W] or embeddings [n, S, D]; the other is None."""

    @property
    def pixel_values(self) -> torch.Tensor | None:
        """Images to encode."""

    @property
    def image_features(self) -> torch.Tensor | None:
        """Images that were encoded before."""


@dataclass(frozen=True)
class BatchInfo:
    """The samples of a batch, in the order of its rows or segments.

    Attributes:
        names: dataset and record of each sample.
        tasks: task of each sample.
        lengths: tokens computed for each sample; what several share counts for the first of them.
        supervised: supervised tokens of each sample, which stand in this order in `loss_positions`.
        bad: the samples that were left out because an image cannot be read.
    """

    names: tuple[str, ...]
    tasks: tuple[str, ...]
    lengths: tuple[int, ...]
    supervised: tuple[int, ...]
    bad: tuple[BadImage, ...]

    @classmethod
    def of(cls, rows: Sequence[Sample], given: Sequence[Sample], shared: Sequence[int]) -> BatchInfo:
        """Describe the rows that were made of the given samples.

        Args:
            rows: the samples in order.
            given: the samples before bad ones were left out.
            shared: tokens of each row that another one's computation has provided.
        """
        return cls(
            names=tuple(row.name for row in rows),
            tasks=tuple(row.task for row in rows),
            lengths=tuple(len(row.input_ids) - known for row, known in zip(rows, shared, strict=True)),
            supervised=tuple(map(_num_supervised, rows)),
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
            before a supervised token; `loss_splits` of them per expert; the images, see `batch_images`;
            `expert_ids` [B]; `expert_splits`, rows per expert; `info`, a `BatchInfo`. Splits are tuples of
            ints.
        """
        usable = _usable(samples)
        rows = sorted(usable, key=partial(_expert, self.num_experts))  # stable
        experts = [_expert(self.num_experts, row) for row in rows]
        loss_splits = [0] * self.num_experts
        for expert, row in zip(experts, rows, strict=True):
            loss_splits[expert] += _num_supervised(row)
        longest = max(len(row.input_ids) for row in rows)
        length = -(-longest // LENGTH_STEP) * LENGTH_STEP
        labels_BL = _pad([row.labels for row in rows], length, IGNORED)
        return {
            "input_ids": _pad([row.input_ids for row in rows], length, self.pad_token_id),
            "attention_mask": _pad([torch.ones_like(row.input_ids) for row in rows], length, 0),
            "labels": labels_BL,
            "loss_positions": before_supervised(labels_BL),
            "loss_splits": tuple(loss_splits),
            **batch_images(rows),
            "expert_ids": torch.tensor(experts),
            "expert_splits": tuple(experts.count(expert) for expert in range(self.num_experts)),
            "info": BatchInfo.of(rows, samples, [0] * len(rows)),
        }


@dataclass(frozen=True)
class PackCollator:
    """Make one packed row of the samples of one or more packs.

    Samples stand one behind the other, sorted by expert, so that each expert's tokens are one slice. The row
    is filled up to a multiple of `LENGTH_STEP` by a segment of padding, which no loss falls on.

    Samples of one expert about the same images begin with the same tokens, up to the last image's. With
    `share_images` this prefix stands in the row once, as a segment; behind it stand the rests of the samples,
    each a segment that continues the prefix.

    Attributes:
        pad_token_id: fills the last segment.
        num_experts: experts of the model; 1 sends every token through the only one.
        share_images: let samples about the same images share them.
    """

    pad_token_id: int
    num_experts: int
    share_images: bool = False

    def __call__(self, packs: Sequence[Sequence[Sample]]) -> dict[str, Any]:
        """Collate packs.

        Returns:
            `input_ids`, `position_ids`, `labels` [1, L]; `loss_positions` [M], those before a supervised
            token; `segment_lengths`, and for each segment in `segment_prefixes` the index of the one that it
            continues or -1; `expert_splits` (tokens per expert) and `loss_splits` (loss positions per
            expert); all tuples of ints, lengths and splits summing to L and M; the images in the order of the
            segments, see `batch_images`; `info`, a `BatchInfo`.
        """
        given = [sample for pack in packs for sample in pack]
        row = _Row()
        expert_splits, loss_splits = [0] * self.num_experts, [0] * self.num_experts
        groups = self._groups(_usable(given))
        for expert, group in groups:
            expert_splits[expert] += row.add(group)
            loss_splits[expert] += sum(_num_supervised(sample) for sample in group)
        if rest := -sum(row.lengths) % LENGTH_STEP:
            padding = torch.full((rest,), self.pad_token_id)
            expert_splits[-1] += row.segment(padding, torch.full((rest,), IGNORED))
        labels_L = torch.cat(row.labels)
        return {
            "input_ids": torch.cat(row.ids)[None],
            "position_ids": torch.cat(row.positions)[None],
            "labels": labels_L[None],
            "loss_positions": before_supervised(labels_L),
            "loss_splits": tuple(loss_splits),
            "segment_lengths": tuple(row.lengths),
            "segment_prefixes": tuple(row.prefixes),
            "expert_splits": tuple(expert_splits),
            **batch_images([group[0] for _, group in groups]),
            "info": BatchInfo.of([sample for _, group in groups for sample in group], given, row.shared),
        }

    def _groups(self, samples: Sequence[Sample]) -> list[tuple[int, list[Sample]]]:
        """Samples that share their images, with their expert, sorted by it; else in the order given."""
        groups: dict[tuple[int, Any], list[Sample]] = {}
        for number, sample in enumerate(samples):
            about = sample.images if self.share_images and sample.images else number
            groups.setdefault((_expert(self.num_experts, sample), about), []).append(sample)
        by_expert = sorted(groups.items(), key=lambda item: item[0][0])  # stable
        return [(expert, group) for (expert, _), group in by_expert]


class _Row:
    """A packed row in the making: its segments so far."""

    def __init__(self) -> None:
        self.ids: list[torch.Tensor] = []
        self.labels: list[torch.Tensor] = []
        self.positions: list[torch.Tensor] = []
        self.lengths: list[int] = []
        self.prefixes: list[int] = []
        self.shared: list[int] = []  # of each sample, the tokens that another one has brought

    def add(self, group: Sequence[Sample]) -> int:
        """Append samples; several share the prefix that their images end. Returns the tokens appended."""
        cut = group[0].prefix if len(group) > 1 else 0
        added, prefix = 0, -1
        if cut:
            prefix = len(self.lengths)
            added += self.segment(group[0].input_ids[:cut], group[0].labels[:cut])
        for number, sample in enumerate(group):
            added += self.segment(sample.input_ids[cut:], sample.labels[cut:], cut, prefix)
            self.shared.append(cut if number else 0)
        return added

    def segment(self, ids: torch.Tensor, labels: torch.Tensor, start: int = 0, prefix: int = -1) -> int:
        """Append a segment that begins at a position, continuing another one. Returns its length."""
        self.ids.append(ids)
        self.labels.append(labels)
        self.positions.append(torch.arange(start, start + len(ids)))
        self.lengths.append(len(ids))
        self.prefixes.append(prefix)
        return len(ids)


def _expert(num_experts: int, sample: Sample) -> int:
    return sample.expert_id if num_experts > 1 else 0


def _usable(samples: Sequence[Sample]) -> list[Sample]:
    """The samples without the bad ones; of a batch that has no others, the first, which trains nothing.

    Every process must run every part of the model in every pass, or the others would wait for it.
    """
    return [sample for sample in samples if sample.bad is None] or list(samples[:1])


def batch_images(samples: Sequence[Pictured]) -> dict[str, torch.Tensor]:
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


def _num_supervised(sample: Sample) -> int:
    return int((sample.labels != IGNORED).sum())


def before_supervised(labels: torch.Tensor) -> torch.Tensor:
    """Positions, in the flattened batch, of the tokens whose next token is supervised.

    The first token of a sample never is, nor is the first behind its images, where the rest of a sample that
    shares them begins: so no position looks across the border of a row or of a segment.
    """
    return (labels.flatten()[1:] != IGNORED).nonzero().flatten()
