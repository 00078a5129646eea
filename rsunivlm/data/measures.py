"""What planning needs to know of a record without loading it: tokens, images, expert. Measured once.

To pack samples one must know how long they are, which takes a tokeniser minutes for a million records. So
they are measured when they are first asked for, remembered for the run, and, where a folder is given, kept
there: one `.npy` file per record file, named by the hash of everything that decides the numbers (the records,
the tokeniser and the chat format, the image root, the choice of experts). Another tokeniser means another
file; a file never goes stale.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rsunivlm.data.mixtures import MixtureDataset
from rsunivlm.data.records import Record
from rsunivlm.models.rsunivlm.processing_rsunivlm import RSUniVLMProcessor

_FORMAT = 1  # raise it when the columns change their meaning
_LENGTH, _IMAGES, _EXPERT, _SHOWN = range(4)


@dataclass(frozen=True)
class Measures:
    """Planned samples in numbers, each an array [n].

    Attributes:
        lengths: Tokens, images included.
        images: Images.
        experts: Expert that the sample runs through, in a model that has several.
        shown: Hash of the images: equal where samples are about the same images in the same order.
    """

    lengths: np.ndarray
    images: np.ndarray
    experts: np.ndarray
    shown: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray) -> Measures:
        """From rows of `RecordMeasures` [n, 4]."""
        return cls(*rows.T)


class RecordMeasures:
    """The measures of one dataset's records."""

    def __init__(
        self, dataset: MixtureDataset, processor: RSUniVLMProcessor, folder: Path | None = None
    ) -> None:
        """Find what was measured before.

        Args:
            dataset: Whose records are measured.
            processor: Tokenises and chooses experts.
            folder: Where measures are kept; None keeps them for as long as this object lives.

        Raises:
            ValueError: The file of measures is damaged.
        """
        self.dataset = dataset
        self.processor = processor
        self._file = folder / self._name() if folder is not None else None
        self._table = np.zeros((len(dataset.records), 4), dtype=np.int64)
        if self._file is not None and self._file.exists():
            try:
                self._table = np.load(self._file)
            except (ValueError, EOFError) as error:
                raise ValueError(f"{self._file}: damaged; delete it, it will be made again") from error

    def of(self, indices: np.ndarray) -> np.ndarray:
        """Measures of some records.

        Args:
            indices: Of the records [n]; they may repeat.

        Returns:
            [n, 4]: the columns of `Measures` in order.

        Raises:
            ValueError: A record is invalid; names it and the mend.
        """
        missing = np.unique(indices)
        missing = missing[self._table[missing, _LENGTH] == 0]
        for index in missing:
            self._table[index] = self._measure(self.dataset.records[int(index)])
        if self._file is not None and len(missing):
            self._save(self._file)
        return self._table[indices]

    def _measure(self, record: Record) -> tuple[int, int, int, int]:
        name = self.dataset.name
        turns = [(turn.prompt, turn.answer) for turn in record.turns]
        try:
            ids, _ = self.processor.encode_conversation(turns, len(record.images))
        except ValueError as error:
            raise ValueError(f"dataset {name}, record {record.id}: {error}") from error
        shown = hashlib.blake2b(
            json.dumps([str(self.dataset.images), *record.images]).encode(), digest_size=8
        )
        return (
            len(ids),
            len(record.images),
            self.processor.expert_of(record.task, f"{name} {record.id}"),
            int.from_bytes(shown.digest(), signed=True),
        )

    def _name(self) -> str:
        path, processor = self.dataset.records.path, self.processor
        with path.open("rb") as file:
            records = hashlib.file_digest(file, "sha256").hexdigest()
        owner = [
            *(_FORMAT, records, self.dataset.name, str(self.dataset.images)),
            processor.tokenizer.backend_tokenizer.to_str(),
            # Stands for the chat format and the number of image tokens.
            processor.encode_conversation([("one", "two"), ("three", "four")], 2),
            *(processor.task_granularity, processor.random_experts_seed),
        ]
        digest = hashlib.sha256(json.dumps(owner, sort_keys=True).encode()).hexdigest()
        return f"{path.stem}-{digest[:16]}.npy"

    def _save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.npy")
        np.save(partial, self._table)
        os.replace(partial, path)
