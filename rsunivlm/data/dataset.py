"""Training samples by position: position in the run -> record -> sample.

A run is one long list of positions, epoch after epoch. The record at a position follows from `Mixture.plan`
(and, on request, from the samples' measures: `rsunivlm.data.order`), which is computed, not drawn. So a
sample depends on (seed, epoch, mixture) and its position alone: the number of loader workers changes nothing,
and a resumed run needs only its position.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from torch.utils.data import Dataset

from rsunivlm.data.loading import Loaded, PictureLoader, Sample, SampleLoader
from rsunivlm.data.measures import Measures
from rsunivlm.data.mixtures import Mixture
from rsunivlm.data.order import group_by_image, group_by_length
from rsunivlm.data.packing import plan_packs
from rsunivlm.models.rsunivlm.processing_rsunivlm import RSUniVLMProcessor


class RunSamples(Protocol):
    """What a run has to know of its samples, whatever a position holds."""

    @property
    def loader(self) -> PictureLoader:
        """Loads the pictures."""

    @property
    def plan(self) -> np.ndarray:
        """Dataset and record of every sample in the order of training [n, 2]."""

    def rows(self, position: int) -> np.ndarray:
        """Dataset and record of every sample at a position [k, 2]."""

    def __len__(self) -> int:
        """Positions in the run."""


Item = TypeVar("Item", covariant=True)


class PlannedSamples(Dataset[Item]):
    """A sample for every position of a plan."""

    def __init__(self, loader: Any, plan: np.ndarray) -> None:
        """Take over a plan.

        Args:
            loader: a `PictureLoader` that loads the samples of a family.
            plan: dataset and record of every sample [n, 2].
        """
        self.loader = loader
        self._plan = plan

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

    def __getitem__(self, position: int) -> Item:
        """Load the sample at a position.

        Raises:
            ValueError: an image is missing or unreadable; names dataset, record and file.
        """
        sample: Item = self.loader.load(*self._plan[position])
        return sample


class TrainingSamples(PlannedSamples[Sample]):
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
        measures_folder: Path | None = None,
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
            measures_folder: where the lengths of records are kept.

        Raises:
            ValueError: a planned record is invalid or longer than ``max_length``; names it and the mend.
        """
        loader = SampleLoader(mixture, processor, measures_folder)
        plan = planned(mixture, num_samples)
        lengths = loader.measure(plan, max_length).lengths
        if length_window:
            plan = plan[group_by_length(lengths, global_batch, length_window, mixture.seed)]
        super().__init__(loader, plan)


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
        share_images: int = 0,
        num_experts: int = 1,
        measures_folder: Path | None = None,
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
            share_images: most samples about the same images that are brought together, to be computed with
                one copy of these; 0 leaves every sample by itself.
            num_experts: of the model. Samples that run through different experts cannot share.
            measures_folder: where the lengths of records are kept.

        Raises:
            ValueError: a planned record is invalid or longer than ``capacity``; names it and the mend.
        """
        self.loader = SampleLoader(mixture, processor, measures_folder)
        self._packs: list[np.ndarray] = []
        wanted = num_packs
        samples = max(1, round(epochs * len(mixture)))
        epoch = 0
        while not wanted or len(self._packs) < wanted:
            plan = mixture.plan(epoch)
            whole = len(plan)
            if not num_packs and not wanted:
                plan = plan[: max(0, samples - epoch * whole)]
            measures, seed = self.loader.measure(plan, capacity), mixture.seed + epoch
            if share_images:
                groups, lengths, images = self._share(measures, share_images, num_experts, capacity, seed)
                packs = plan_packs(lengths, images, capacity, max_images=max_images, seed=seed)
                packs = [np.concatenate([groups[index] for index in pack]) for pack in packs]
            else:
                lengths, images = measures.lengths, measures.images
                packs = plan_packs(lengths, images, capacity, max_images=max_images, seed=seed)
            self._packs += [plan[pack] for pack in packs]
            epoch += 1
            if not wanted and epoch * whole >= samples:
                wanted = -(-len(self._packs) // multiple) * multiple
        self._packs = self._packs[:wanted]

    def _share(
        self, measures: Measures, most: int, num_experts: int, capacity: int, seed: int
    ) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
        """Groups of samples about the same images; the tokens that each computes, and its images."""
        experts = measures.experts if num_experts > 1 else np.zeros_like(measures.experts)
        prefixes = self.loader.image_prefixes(measures.images)
        groups = group_by_image(
            np.stack([measures.shown, experts], axis=1),
            measures.lengths,
            prefixes,
            most=most,
            capacity=capacity,
            seed=seed,
        )
        branches = measures.lengths - prefixes
        lengths = np.array([prefixes[group[0]] + branches[group].sum() for group in groups])
        return groups, lengths, np.array([measures.images[group[0]] for group in groups])

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
        loaded: Loaded = {}
        return [self.loader.load(int(row[0]), int(row[1]), loaded) for row in self.rows(position)]


def planned(mixture: Mixture, num_samples: int) -> np.ndarray:
    """The first rows of the mixture's plan, epoch after epoch: dataset and record [num_samples, 2]."""
    epochs = -(-num_samples // len(mixture))
    return np.concatenate([mixture.plan(epoch) for epoch in range(epochs)])[:num_samples]
