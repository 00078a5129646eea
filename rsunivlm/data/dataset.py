"""Training samples: position in the run -> record -> tokens, labels and pixels.

A run is one long list of positions, epoch after epoch. The record at a position follows from `Mixture.plan`
(and, on request, from the lengths: `rsunivlm.data.order`), which is computed, not drawn. So a sample depends
on (seed, epoch, mixture) and its position alone: the number of loader workers changes nothing, and a resumed
run needs only its position.

A bad sample stops the run with its name. It is never replaced by another, and an over-long one is never cut:
cutting takes the end of the sequence, which is the answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from rsunivlm.data.mixtures import Mixture
from rsunivlm.data.order import group_by_length
from rsunivlm.data.records import Record, resolve_image
from rsunivlm.images import open_image
from rsunivlm.models.rsunivlm.processing_rsunivlm import RSUniVLMProcessor


@dataclass(frozen=True)
class Sample:
    """One conversation, ready for a batch.

    Attributes:
        input_ids: token ids [L], image placeholders counted out.
        labels: [L], the ids on answers, -100 elsewhere.
        pixel_values: the record's images [n, 3, H, W] in float32.
        expert_id: the expert that the whole sequence runs through.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    pixel_values: torch.Tensor
    expert_id: int


class TrainingSamples(Dataset[Sample]):
    """The samples of a run, by position."""

    def __init__(
        self,
        mixture: Mixture,
        processor: RSUniVLMProcessor,
        num_samples: int,
        max_length: int,
        *,
        global_batch: int = 1,
        length_window: int = 0,
    ) -> None:
        """Plan the run and check every record in it.

        Args:
            mixture: what to train on.
            processor: of the model to be trained.
            num_samples: length of the run; beyond one epoch the next one's plan follows.
            max_length: most tokens a sample may have, images included.
            global_batch: samples per forward pass of all processes.
            length_window: batches among which samples of like length are brought together; 0 keeps the
                plan's order.

        Raises:
            ValueError: a planned record is invalid or longer than ``max_length``; names it and the mend.
        """
        self.mixture = mixture
        self.processor = processor
        epochs = -(-num_samples // len(mixture))
        self._plan = np.concatenate([mixture.plan(epoch) for epoch in range(epochs)])[:num_samples]
        lengths = self._check_lengths(max_length)
        if length_window:
            self._plan = self._plan[group_by_length(lengths, global_batch, length_window, mixture.seed)]

    def __len__(self) -> int:
        """Samples in the run."""
        return len(self._plan)

    def __getitem__(self, position: int) -> Sample:
        """Load the sample at a position.

        Raises:
            ValueError: an image is missing or unreadable; names dataset, record and file.
        """
        dataset_index, record_index = self._plan[position]
        dataset = self.mixture.datasets[dataset_index]
        record = dataset.records[int(record_index)]
        try:
            pictures = [open_image(resolve_image(dataset.images, image)) for image in record.images]
            input_ids, labels = self._encode(record)
        except ValueError as error:
            raise ValueError(f"dataset {dataset.name}, record {record.id}: {error}") from error
        return Sample(
            input_ids=torch.tensor(input_ids),
            labels=torch.tensor(labels),
            pixel_values=self.processor.preprocess_images(pictures),
            expert_id=self.processor.expert_of(record.task),
        )

    def _encode(self, record: Record) -> tuple[list[int], list[int]]:
        turns = [(turn.prompt, turn.answer) for turn in record.turns]
        return self.processor.encode_conversation(turns, len(record.images))

    def _check_lengths(self, max_length: int) -> np.ndarray:
        """Refuse over-long records; returns a bound of each planned sample's length."""
        too_long: list[str] = []
        planned, position = np.unique(self._plan, axis=0, return_inverse=True)
        bounds = np.empty(len(planned), dtype=np.int64)
        for row, (dataset_index, record_index) in enumerate(planned):
            dataset = self.mixture.datasets[dataset_index]
            record = dataset.records[int(record_index)]
            bounds[row] = self._length_bound(record)
            if bounds[row] <= max_length:
                continue
            try:
                length = len(self._encode(record)[0])
            except ValueError as error:
                raise ValueError(f"dataset {dataset.name}, record {record.id}: {error}") from error
            if length > max_length:
                too_long.append(f"{dataset.name} {record.id} ({length} tokens)")
        if too_long:
            named = ", ".join(too_long[:5]) + (", ..." if len(too_long) > 5 else "")
            raise ValueError(
                f"{len(too_long)} record(s) are longer than max_length={max_length} tokens: {named}; "
                "shorten or remove them, or raise max_length"
            )
        return bounds[position.ravel()]

    def _length_bound(self, record: Record) -> int:
        """An upper bound of the sample's length that needs no tokenizer.

        A byte-level tokenizer makes at most one token of a byte; 64 covers a turn's chat markup.
        """
        text = sum(len(turn.prompt.encode()) + len(turn.answer.encode()) + 64 for turn in record.turns)
        per_image = self.processor.num_image_tokens + len(self.processor.image_separator)
        return text + len(record.images) * per_image
