"""Training samples of RS-MoE: a record becomes one row per expert that has something to say about its image.

In stage I a record is one row: the instruction, and the whole caption or answer. In stage II each expert gets
its own prompt and its own part of the caption (`targets` of the record, written by ``python -m data_tools
split-captions``). A part that a caption does not have makes no row: that expert learns nothing from that
record, and its share of the loss is not made up for. With `silent`, it learns to write nothing. The rows of a
record look at one image, which is loaded and seen once.

Shapes: B rows, L positions, N images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from rsunivlm.captions import PARTS, join_parts
from rsunivlm.data.collation import LENGTH_STEP, BatchInfo, batch_images, before_supervised
from rsunivlm.data.dataset import PlannedSamples
from rsunivlm.data.loading import BadImage, PictureLoader
from rsunivlm.data.mixtures import Mixture
from rsunivlm.data.order import group_by_length
from rsunivlm.data.records import Record
from rsunivlm.models.chat import IGNORED, pad_rows
from rsunivlm.models.rs_moe.configuration_rs_moe import RSMoEConfig
from rsunivlm.models.rs_moe.processing_rs_moe import ExpertRow, RSMoEProcessor
from rsunivlm.models.rs_moe.router import expert_prompts
from rsunivlm.tasks import without_token

CAPTION = "caption"  # as a target: the whole caption


@dataclass(frozen=True)
class ExpertSample:
    """A record, ready for a batch.

    Attributes:
        rows: One per expert that learns from it; at least one.
        names: Dataset, record and expert of each row, for messages.
        task: The record's task, for logs.
        pixel_values: The image [1, 3, H, W] in float32; None where `image_features` are there.
        image_features: What the vision tower sees [1, S, C], when it was computed before.
        bad: Why the sample trains nothing: its labels are all -100 and its image blank.
    """

    rows: tuple[ExpertRow, ...]
    names: tuple[str, ...]
    task: str
    pixel_values: torch.Tensor | None
    image_features: torch.Tensor | None
    bad: BadImage | None = None


class ExpertLoader(PictureLoader):
    """From a row of the plan to a sample."""

    processor: RSMoEProcessor

    def __init__(
        self,
        mixture: Mixture,
        processor: RSMoEProcessor,
        config: RSMoEConfig,
        targets: Mapping[str, Sequence[str]],
        *,
        silent: bool = False,
    ) -> None:
        """Prepare to load.

        Args:
            mixture: what the plan is made of.
            processor: of the model to be trained.
            config: of the model; without experts, every record is one row of the language model of stage I.
            targets: expert -> the parts of a caption that it learns, or `CAPTION`; an expert that is not
                named here learns the part of its own name.
            silent: whether an expert whose part a caption lacks learns to write nothing.

        Raises:
            ValueError: an expert without a target, or a target that is no expert's or no part.
        """
        super().__init__(mixture, processor)
        self.config = config
        self.targets = check_targets(config.subtasks, targets)
        self.silent = silent

    def load(self, dataset_index: int, record_index: int) -> ExpertSample:
        """Load one sample.

        Raises:
            ValueError: an image is missing or unreadable; names dataset, record and file.
        """
        dataset = self.mixture.datasets[dataset_index]
        record = dataset.records[int(record_index)]
        rows = self.rows(record)
        pictures = self.pictures(dataset, record)
        if pictures.bad is not None:
            rows = {name: replace(row, labels=[IGNORED] * len(row.labels)) for name, row in rows.items()}
        return ExpertSample(
            rows=tuple(rows.values()),
            names=tuple(f"{dataset.name} {record.id} {name}".rstrip() for name in rows),
            task=record.task.value,
            pixel_values=pictures.pixels,
            image_features=pictures.features,
            bad=pictures.bad,
        )

    def rows(self, record: Record) -> dict[str, ExpertRow]:
        """Name of each expert that learns from a record -> its row; the name is "" in stage I.

        Raises:
            ValueError: the record has several images or turns, or was not split; names the mend.
        """
        if len(record.images) != 1 or len(record.turns) != 1:
            raise ValueError(
                f"{len(record.images)} image(s) and {len(record.turns)} turn(s); RS-MoE learns from one of "
                "each a record (convert with --turns 1)"
            )
        (turn,) = record.turns
        instruction = without_token(turn.prompt)
        if not self.targets:
            return {"": self.processor.encode_row(instruction, turn.answer, instruction=instruction)}
        rows = {}
        prompts = expert_prompts(self.config, instruction)
        for expert, (name, prompt) in enumerate(zip(self.targets, prompts, strict=True)):
            answer = _target(record, self.targets[name])
            if answer or self.silent:
                rows[name] = self.processor.encode_row(prompt, answer, instruction=instruction, expert=expert)
        return rows


class ExpertSamples(PlannedSamples[ExpertSample]):
    """The samples of a run, by position.

    Attributes:
        counts: Rows of each expert in one epoch, and the records that no expert learns from.
    """

    def __init__(
        self,
        loader: ExpertLoader,
        num_samples: int,
        max_length: int,
        *,
        global_batch: int = 1,
        length_window: int = 0,
    ) -> None:
        """Plan the run and check every record in it.

        Args:
            loader: loads the samples.
            num_samples: length of the run; beyond one epoch the next one's plan follows.
            max_length: most tokens a row may have, its image included.
            global_batch: samples per forward pass of all processes.
            length_window: batches among which samples of like length are brought together; 0 keeps the
                plan's order.

        Raises:
            ValueError: a record is invalid or too long, or no expert learns from any; names it and the mend.
        """
        mixture = loader.mixture
        lengths, self.counts = _measure(loader, max_length)
        epochs: list[np.ndarray] = []
        while sum(map(len, epochs)) < num_samples:
            epoch = mixture.plan(len(epochs))
            epochs.append(epoch[_of(lengths, epoch) > 0])
        plan = np.concatenate(epochs)[:num_samples]
        if length_window:
            plan = plan[group_by_length(_of(lengths, plan), global_batch, length_window, mixture.seed)]
        super().__init__(loader, plan)


@dataclass(frozen=True)
class ExpertCollator:
    """Make batches of the rows of samples, padded on the right.

    Attributes:
        processor: of the model.
    """

    processor: RSMoEProcessor

    def __call__(self, samples: Sequence[ExpertSample]) -> dict[str, Any]:
        """Collate samples.

        Returns:
            What `RSMoEForConditionalGeneration.forward` takes, with `image_index` [B] for the rows of one
            image; `info`, a `BatchInfo` of the rows.
        """
        usable = [sample for sample in samples if sample.bad is None] or list(samples[:1])
        rows = [row for sample in usable for row in sample.rows]
        filled, mask = pad_rows(
            [row.input_ids for row in rows], self.processor.tokenizer.pad_token_id, left=False
        )
        # A multiple of `LENGTH_STEP`, as in `rsunivlm.data.collation`.
        width = -filled.shape[1] % LENGTH_STEP
        labels, _ = pad_rows([row.labels for row in rows], IGNORED, left=False)
        pad = torch.nn.functional.pad
        labels_BL = pad(labels, (0, width), value=IGNORED)
        supervised = (labels_BL != IGNORED).sum(dim=1).tolist()
        shown = [index for index, sample in enumerate(usable) for _ in sample.rows]
        return {
            "input_ids": pad(filled, (0, width), value=self.processor.tokenizer.pad_token_id),
            "attention_mask": pad(mask, (0, width)),
            "labels": labels_BL,
            "loss_positions": before_supervised(labels_BL),
            **self.processor.batch_texts(rows),
            **batch_images(usable),
            "image_index": torch.tensor(shown),
            "info": BatchInfo(
                names=tuple(name for sample in usable for name in sample.names),
                tasks=tuple(sample.task for sample in usable for _ in sample.rows),
                lengths=tuple(len(row.input_ids) for row in rows),
                supervised=tuple(supervised),
                bad=tuple(sample.bad for sample in samples if sample.bad is not None),
            ),
        }


def check_targets(
    experts: Mapping[str, str], targets: Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, ...]]:
    """What each expert learns, in the order of the experts.

    Raises:
        ValueError: see `ExpertLoader`.
    """
    if unknown := sorted(set(targets) - set(experts)):
        raise ValueError(
            f"targets: there is no expert {', '.join(unknown)}; the model has {', '.join(experts) or 'none'}"
        )
    found = {}
    for name in experts:
        given = targets.get(name, (name,))
        parts = (given,) if isinstance(given, str) else tuple(given)
        for part in parts:
            if part not in (*PARTS, CAPTION) or (part == CAPTION and len(parts) > 1):
                raise ValueError(
                    f"targets: expert {name} cannot learn {part!r}; give it {CAPTION}, or one or more of "
                    f"{', '.join(PARTS)}"
                )
        found[name] = parts
    return found


def _target(record: Record, parts: Sequence[str]) -> str:
    """What an expert is to say about a record; "" for nothing."""
    if tuple(parts) == (CAPTION,):
        return record.turns[0].answer
    given = record.targets if isinstance(record.targets, dict) else {}
    if missing := [part for part in PARTS if not isinstance(given.get(part), str)]:
        raise ValueError(
            f"'targets' has no {', '.join(missing)}; split the captions: python -m data_tools split-captions"
        )
    return join_parts({part: given[part] if part in parts else "" for part in PARTS})


def _measure(loader: ExpertLoader, max_length: int) -> tuple[list[np.ndarray], dict[str, int]]:
    """For each dataset the length of each record's longest row, 0 without a row; and how many rows.

    Raises:
        ValueError: a record is invalid or longer than `max_length`, or none has a row.
    """
    found, counts = [], Counter(dict.fromkeys((*loader.targets, "none"), 0))
    for dataset in loader.mixture.datasets:
        lengths = np.zeros(len(dataset.records), dtype=np.int64)
        for index, record in enumerate(dataset.records):
            where = f"dataset {dataset.name}, record {record.id}"
            try:
                rows = loader.rows(record)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from error
            lengths[index] = max((len(row.input_ids) for row in rows.values()), default=0)
            if lengths[index] > max_length:
                raise ValueError(
                    f"{where} is longer than max_length={max_length} tokens ({lengths[index]}); shorten or "
                    "remove it, or raise max_length"
                )
            counts.update(rows.keys() or ["none"])
        found.append(lengths)
    if not any(lengths.any() for lengths in found):
        raise ValueError("no expert learns from any record of the mixture; see targets")
    return found, dict(counts)


def _of(lengths: Sequence[np.ndarray], plan: np.ndarray) -> np.ndarray:
    """Lengths of planned records [n]."""
    return np.array([lengths[dataset][record] for dataset, record in plan], dtype=np.int64)
