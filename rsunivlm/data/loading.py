"""From a row of the plan to a training sample: record -> tokens, labels and pixels.

A bad sample stops the run with its name, or, on request, stays in the run as one that trains nothing and
says why (`Sample.bad`). It is never replaced by another, and an over-long one is never cut: cutting takes the
end of the sequence, which is the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from rsunivlm.data.features import FeatureFile, ImageKey
from rsunivlm.data.measures import Measures, RecordMeasures
from rsunivlm.data.mixtures import Mixture, MixtureDataset
from rsunivlm.data.records import Record, resolve_image
from rsunivlm.images import open_image
from rsunivlm.models.chat import IGNORED, ChatProcessor
from rsunivlm.models.rsunivlm.processing_rsunivlm import RSUniVLMProcessor


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
        images: the images, by root and path; samples with the same ones begin with the same tokens.
        prefix: how many tokens that is: those up to the last image's.
        bad: why the sample trains nothing: its labels are all -100 and its images blank.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    pixel_values: torch.Tensor | None
    expert_id: int
    image_features: torch.Tensor | None = None
    name: str = ""
    task: str = ""
    images: tuple[ImageKey, ...] = ()
    prefix: int = 0
    bad: BadImage | None = None


# Images of a pack that were loaded already -> pixels or embeddings, see `Sample`.
Loaded = dict[tuple[ImageKey, ...], tuple[torch.Tensor | None, torch.Tensor | None]]


class _UnreadableError(ValueError):
    """An image cannot be read."""

    def __init__(self, image: str, reason: str) -> None:
        super().__init__(reason)
        self.image = image


@dataclass(frozen=True)
class Pictures:
    """The images of a record, ready for a batch.

    Attributes:
        keys: by root and path.
        pixels: [n, 3, H, W] in float32; None where `features` are there.
        features: embeddings [n, S, D], when they were computed before.
        bad: why the images are blank and must not be learnt from.
    """

    keys: tuple[ImageKey, ...]
    pixels: torch.Tensor | None
    features: torch.Tensor | None
    bad: BadImage | None = None


class PictureLoader:
    """From the records of a mixture to their images.

    Attributes:
        features: embeddings of images that were computed before.
        leave_out: images that cannot be read become blank ones with a reason, instead of an error.
        bad_images: images known to be bad -> reason; they are not tried again.
    """

    def __init__(self, mixture: Mixture, processor: ChatProcessor) -> None:
        """Prepare to load.

        Args:
            mixture: what the plan is made of.
            processor: of the model to be trained.
        """
        self.mixture = mixture
        self.processor = processor
        self.features: FeatureFile | None = None
        self.leave_out = False
        self.bad_images: dict[ImageKey, str] = {}

    def images(self, plan: np.ndarray) -> list[ImageKey]:
        """The distinct images of planned samples, in the order in which training meets them."""
        found: dict[ImageKey, None] = {}
        for dataset_index, record_index in plan:
            dataset = self.mixture.datasets[dataset_index]
            for image in dataset.records[int(record_index)].images:
                found[str(dataset.images), image] = None
        return list(found)

    def pictures(self, dataset: MixtureDataset, record: Record, loaded: Loaded | None = None) -> Pictures:
        """Load the images of a record.

        Args:
            dataset: of the mixture.
            record: of the dataset.
            loaded: images that other samples of the same pack have loaded; this one's are added.

        Raises:
            ValueError: an image is missing or unreadable; names dataset, record and file.
        """
        keys = tuple((str(dataset.images), image) for image in record.images)
        try:
            pixels, features = self._load_images(keys, {} if loaded is None else loaded)
        except _UnreadableError as error:
            if not self.leave_out:
                raise ValueError(f"dataset {dataset.name}, record {record.id}: {error}") from error
            bad = BadImage(dataset.name, record.id, error.image, str(error))
            blank = self.processor.preprocess_images([Image.new("RGB", (1, 1))] * len(keys))
            return Pictures(keys, blank, None, bad)
        return Pictures(keys, pixels, features)

    def _load_images(
        self, keys: tuple[ImageKey, ...], loaded: Loaded
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Pixels, or embeddings where these were computed before."""
        if keys not in loaded:
            # What was bad once stays out, also if mended since: a resumed run repeats what it has done.
            known_bad = any(key in self.bad_images for key in keys)
            features = self.features.read(keys) if self.features and not known_bad else None
            loaded[keys] = (None if features is not None else self._pixels(keys), features)
        return loaded[keys]

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


class SampleLoader(PictureLoader):
    """From a row of the plan to a sample, and its length without loading it."""

    processor: RSUniVLMProcessor

    def __init__(
        self, mixture: Mixture, processor: RSUniVLMProcessor, measures_folder: Path | None = None
    ) -> None:
        """Prepare to load.

        Args:
            mixture: what the plan is made of.
            processor: of the model to be trained.
            measures_folder: where measures of the records are kept, see `rsunivlm.data.measures`.

        Raises:
            ValueError: a file of measures is damaged.
        """
        super().__init__(mixture, processor)
        self._measures = [RecordMeasures(dataset, processor, measures_folder) for dataset in mixture.datasets]
        self._prefixes = {images: processor.image_prefix(images) for images in (1, 2)}

    def load(self, dataset_index: int, record_index: int, loaded: Loaded | None = None) -> Sample:
        """Load one sample.

        Args:
            dataset_index: of the mixture.
            record_index: of the dataset.
            loaded: images that other samples of the same pack have loaded; this one's are added.

        Raises:
            ValueError: an image is missing or unreadable; names dataset, record and file.
        """
        dataset = self.mixture.datasets[dataset_index]
        record = dataset.records[int(record_index)]
        name = f"{dataset.name} {record.id}"
        turns = [(turn.prompt, turn.answer) for turn in record.turns]
        encoded = self.processor.encode_conversation(turns, len(record.images))
        input_ids, labels = (torch.tensor(ids) for ids in encoded)
        pictures = self.pictures(dataset, record, loaded)
        if pictures.bad is not None:
            labels = torch.full_like(labels, IGNORED)
        return Sample(
            input_ids=input_ids,
            labels=labels,
            pixel_values=pictures.pixels,
            expert_id=self.processor.expert_of(record.task, name),
            image_features=pictures.features,
            name=name,
            task=record.task.value,
            images=pictures.keys,
            prefix=self._prefixes[len(pictures.keys)],
            bad=pictures.bad,
        )

    def measure(self, plan: np.ndarray, max_length: int) -> Measures:
        """What planning needs to know of planned samples; each record is measured once.

        Args:
            plan: dataset and record [n, 2].
            max_length: most tokens a sample may have, images included.

        Raises:
            ValueError: a record is invalid or longer than ``max_length``; names it and the mend.
        """
        rows = np.empty((len(plan), 4), dtype=np.int64)
        for index, measures in enumerate(self._measures):
            mine = plan[:, 0] == index
            rows[mine] = measures.of(plan[mine, 1])
        measured = Measures.of(rows)
        too_long = np.flatnonzero(measured.lengths > max_length)
        if len(too_long):
            distinct = dict.fromkeys((*plan[row].tolist(), int(measured.lengths[row])) for row in too_long)
            named = [self._describe(*entry) for entry in list(distinct)[:5]]
            raise ValueError(
                f"{len(distinct)} record(s) are longer than max_length={max_length} tokens: "
                f"{', '.join(named)}{', ...' if len(distinct) > 5 else ''}; "
                "shorten or remove them, or raise max_length"
            )
        return measured

    def _describe(self, dataset_index: int, record_index: int, length: int) -> str:
        dataset = self.mixture.datasets[dataset_index]
        return f"{dataset.name} {dataset.records[record_index].id} ({length} tokens)"

    def image_prefixes(self, images: np.ndarray) -> np.ndarray:
        """Tokens that samples about so many images [n] share with others about the same ones [n]."""
        return np.array([0, self._prefixes[1], self._prefixes[2]])[images]
