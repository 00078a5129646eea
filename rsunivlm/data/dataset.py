"""Training samples: position in the run -> record -> tokens, labels and pixels.

A run is one long list of positions, epoch after epoch. The record at a position follows from `Mixture.plan`
(and, on request, from the lengths: `rsunivlm.data.order`), which is computed, not drawn. So a sample depends
on (seed, epoch, mixture) and its position alone: the number of loader workers changes nothing, and a resumed
run needs only its position.

A bad sample stops the run with its name, or, on request, stays in the run as one that trains nothing and
says why (`Sample.bad`). It is never replaced by another, and an over-long one is never cut: cutting takes the
end of the sequence, which is the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from rsunivlm.data.features import FeatureFile, ImageKey
from rsunivlm.data.mixtures import Mixture
from rsunivlm.data.order import group_by_length
from rsunivlm.data.packing import plan_packs
from rsunivlm.data.records import Record, resolve_image
from rsunivlm.images import open_image
from rsunivlm.models.rsunivlm.processing_rsunivlm import IGNORED, RSUniVLMProcessor


@dataclass(frozen=True)
class BadImage:
    """An image that cannot be read, and the record that wanted it.

    Attributes:
        dataset: name of the dataset in the mixture.
        record: the record's id.
        image: the image's path below its root.
        reason: what is wrong with it.
    """

    dataset: str
    record: str
    image: str
    reason: str


@dataclass(frozen=True)
class Sample:
    """One conversation, ready for a batch.

    Attributes:
        input_ids: token ids [L], image placeholders counted out.
        labels: [L], the ids on answers, -100 elsewhere.
        pixel_values: the record's images [n, 3, H, W] in float32; None where `image_features` are there.
        expert_id: the expert that the whole sequence runs through.
        image_features: the images' embeddings [n, S, D], when they were computed before.
        name: dataset and record, for messages.
        task: the record's task, for logs.
        bad: why the sample trains nothing: its labels are all -100 and its images blank.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    pixel_values: torch.Tensor | None
    expert_id: int
    image_features: torch.Tensor | None = None
    name: str = ""
    task: str = ""
    bad: BadImage | None = None


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
        self.loader = SampleLoader(mixture, processor)
        self._plan = planned(mixture, num_samples)
        lengths, _ = self.loader.measure(self._plan, max_length)
        if length_window:
            self._plan = self._plan[group_by_length(lengths, global_batch, length_window, mixture.seed)]

    def __len__(self) -> int:
        """Samples in the run."""
        return len(self._plan)

    @property
    def plan(self) -> np.ndarray:
        """Dataset and record of every sample in the order of training [n, 2]."""
        return self._plan

    def rows(self, position: int) -> np.ndarray:
        """Dataset and record of the sample at a position [1, 2]."""
        return self._plan[position : position + 1]

    def __getitem__(self, position: int) -> Sample:
        """Load the sample at a position.

        Raises:
            ValueError: an image is missing or unreadable; names dataset, record and file.
        """
        return self.loader.load(*self._plan[position])


class PackedSamples(Dataset[list[Sample]]):
    """The packs of a run, by position (see `rsunivlm.data.packing`)."""

    def __init__(
        self,
        mixture: Mixture,
        processor: RSUniVLMProcessor,
        capacity: int,
        *,
        epochs: float = 1.0,
        num_packs: int = 0,
        multiple: int = 1,
        max_images: int = 0,
    ) -> None:
        """Plan the run and check every record in it.

        Args:
            mixture: what to train on.
            processor: of the model to be trained.
            capacity: most tokens of a pack; a sample may have as many.
            epochs: length of the run, unless `num_packs` says it.
            num_packs: length of the run in packs; 0 leaves it to `epochs`.
            multiple: the length is rounded up to a multiple of this, with packs of the following epoch.
            max_images: most images of a pack; 0 sets no limit.

        Raises:
            ValueError: a planned record is invalid or longer than ``capacity``; names it and the mend.
        """
        self.loader = SampleLoader(mixture, processor)
        self._packs: list[np.ndarray] = []
        wanted = num_packs
        samples = round(epochs * len(mixture))
        epoch = 0
        while not wanted or len(self._packs) < wanted:
            plan = mixture.plan(epoch)
            whole = len(plan)
            if not num_packs and not wanted:
                plan = plan[: max(0, samples - epoch * whole)]
            lengths, images = self.loader.measure(plan, capacity)
            packs = plan_packs(lengths, images, capacity, max_images=max_images, seed=mixture.seed + epoch)
            self._packs += [plan[pack] for pack in packs]
            epoch += 1
            if not wanted and epoch * whole >= samples:
                wanted = -(-len(self._packs) // multiple) * multiple
        self._packs = self._packs[:wanted]

    def __len__(self) -> int:
        """Packs in the run."""
        return len(self._packs)

    @property
    def num_samples(self) -> int:
        """Samples in the run."""
        return sum(map(len, self._packs))

    @property
    def plan(self) -> np.ndarray:
        """Dataset and record of every sample in the order of training [n, 2]."""
        return np.concatenate(self._packs)

    def rows(self, position: int) -> np.ndarray:
        """Dataset and record of every sample of a pack [n, 2]."""
        return self._packs[position]

    def __getitem__(self, position: int) -> list[Sample]:
        """Load the samples of a pack.

        Raises:
            ValueError: an image is missing or unreadable; names dataset, record and file.
        """
        return [self.loader.load(*row) for row in self.rows(position)]


def planned(mixture: Mixture, num_samples: int) -> np.ndarray:
    """The first rows of the mixture's plan, epoch after epoch: dataset and record [num_samples, 2]."""
    epochs = -(-num_samples // len(mixture))
    return np.concatenate([mixture.plan(epoch) for epoch in range(epochs)])[:num_samples]


class _UnreadableError(ValueError):
    """An image cannot be read."""

    def __init__(self, image: str, reason: str) -> None:
        super().__init__(reason)
        self.image = image


class SampleLoader:
    """From a row of the plan to a sample, and its length without loading it.

    Attributes:
        features: embeddings of images that were computed before.
        leave_out: a sample whose image cannot be read becomes one that trains nothing, instead of an error.
        bad_images: images known to be bad -> reason; they are not tried again.
    """

    def __init__(self, mixture: Mixture, processor: RSUniVLMProcessor) -> None:
        self.mixture = mixture
        self.processor = processor
        self.features: FeatureFile | None = None
        self.leave_out = False
        self.bad_images: dict[ImageKey, str] = {}

    def load(self, dataset_index: int, record_index: int) -> Sample:
        """Load one sample.

        Raises:
            ValueError: an image is missing or unreadable; names dataset, record and file.
        """
        dataset = self.mixture.datasets[dataset_index]
        record = dataset.records[int(record_index)]
        keys = [(str(dataset.images), image) for image in record.images]
        name = f"{dataset.name} {record.id}"
        # What was bad once stays out, also if it was mended since: a resumed run repeats what it has done.
        known_bad = any(key in self.bad_images for key in keys)
        features = self.features.read(keys) if self.features and not known_bad else None
        input_ids, labels = (torch.tensor(ids) for ids in self._encode(record))
        pixels, bad = None, None
        try:
            if features is None:
                pixels = self._pixels(keys)
        except _UnreadableError as error:
            if not self.leave_out:
                raise ValueError(f"dataset {dataset.name}, record {record.id}: {error}") from error
            bad = BadImage(dataset.name, record.id, error.image, str(error))
            labels = torch.full_like(labels, IGNORED)
            pixels = self.processor.preprocess_images([Image.new("RGB", (1, 1))] * len(keys))
        return Sample(
            input_ids=input_ids,
            labels=labels,
            pixel_values=pixels,
            expert_id=self.processor.expert_of(record.task, name),
            image_features=features,
            name=name,
            task=record.task.value,
            bad=bad,
        )

    def images(self, plan: np.ndarray) -> list[ImageKey]:
        """The distinct images of planned samples, in the order in which training meets them."""
        found: dict[ImageKey, None] = {}
        for dataset_index, record_index in plan:
            dataset = self.mixture.datasets[dataset_index]
            for image in dataset.records[int(record_index)].images:
                found[str(dataset.images), image] = None
        return list(found)

    def _pixels(self, keys: Sequence[ImageKey]) -> torch.Tensor:
        pictures = []
        for key in keys:
            if key in self.bad_images:
                raise _UnreadableError(key[1], self.bad_images[key])
            try:
                pictures.append(open_image(resolve_image(*key)))
            except ValueError as error:
                raise _UnreadableError(key[1], str(error)) from error
        return self.processor.preprocess_images(pictures)

    def measure(self, plan: np.ndarray, max_length: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokens and images of planned samples, each record tokenised once.

        Args:
            plan: dataset and record [n, 2].
            max_length: most tokens a sample may have, images included.

        Returns:
            Tokens [n] and images [n].

        Raises:
            ValueError: a record is invalid or longer than ``max_length``; names it and the mend.
        """
        distinct, position = np.unique(plan, axis=0, return_inverse=True)
        measured = np.empty((len(distinct), 2), dtype=np.int64)
        too_long: list[str] = []
        for row, (dataset_index, record_index) in enumerate(distinct):
            dataset = self.mixture.datasets[dataset_index]
            record = dataset.records[int(record_index)]
            try:
                length = len(self._encode(record)[0])
            except ValueError as error:
                raise ValueError(f"dataset {dataset.name}, record {record.id}: {error}") from error
            if length > max_length:
                too_long.append(f"{dataset.name} {record.id} ({length} tokens)")
            measured[row] = length, len(record.images)
        if too_long:
            named = ", ".join(too_long[:5]) + (", ..." if len(too_long) > 5 else "")
            raise ValueError(
                f"{len(too_long)} record(s) are longer than max_length={max_length} tokens: {named}; "
                "shorten or remove them, or raise max_length"
            )
        lengths, images = measured[position.ravel()].T
        return lengths, images

    def _encode(self, record: Record) -> tuple[list[int], list[int]]:
        turns = [(turn.prompt, turn.answer) for turn in record.turns]
        return self.processor.encode_conversation(turns, len(record.images))
