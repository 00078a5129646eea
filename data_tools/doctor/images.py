"""All images that the record files name, with who uses them: the table that leaks are looked up in."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from data_tools.converted import ConvertedFile
from data_tools.doctor.folder import Folder


@dataclass
class ImageTable:
    """One row per image and dataset; a few numbers and a path each, so that a million fit in memory.

    Attributes:
        folders: the datasets.
        files: all record files met, with the number of their dataset.
        splits: names of all splits met; a set of splits is kept as bits in this order.
        datasets: number of the dataset, per row.
        paths: image path relative to the dataset's root, per row.
    """

    folders: list[Folder]
    files: list[tuple[int, ConvertedFile]] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    datasets: array[int] = field(default_factory=lambda: array("I"))
    paths: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rows: list[dict[str, int]] = [{} for _ in self.folders]
        # Per row and use (training, evaluation): splits as bits, number of the first file, line in it.
        self._uses = {training: (array("I"), array("I"), array("I")) for training in (True, False)}
        self.broken: set[int] = set()

    def __len__(self) -> int:
        return len(self.paths)

    def add_file(self, dataset: int, file: ConvertedFile) -> int:
        """Register a record file; returns its number."""
        self.files.append((dataset, file))
        if file.split not in self.splits:
            self.splits.append(file.split)
        return len(self.files) - 1

    def add(self, file_number: int, path: str, line: int, *, broken: bool) -> None:
        """Note that a line of a file uses an image."""
        dataset, file = self.files[file_number]
        row = self._rows[dataset].setdefault(path, len(self.paths))
        if row == len(self.paths):
            self.datasets.append(dataset)
            self.paths.append(path)
            for numbers in (*self._uses[True], *self._uses[False]):
                numbers.append(0)
        splits, files, lines = self._uses[file.training]
        if not splits[row]:
            files[row], lines[row] = file_number, line
        splits[row] |= 1 << self.splits.index(file.split)
        if broken:
            self.broken.add(row)

    def used(self, *, training: bool) -> Iterator[int]:
        """Rows of the images used for training, or for evaluation."""
        return (row for row, splits in enumerate(self._uses[training][0]) if splits)

    def leak(self, trained: int, evaluated: int) -> str:
        """The evaluation split that training on one row spoils if both are one picture, or "".

        The same split in both forms is no leak: ``val`` is converted for either use. A test split counts
        more than others.
        """
        training, evaluation = self._uses[True][0][trained], self._uses[False][0][evaluated]
        spoilt = [
            split
            for number, split in enumerate(self.splits)
            if evaluation >> number & 1 and training & ~(1 << number)
        ]
        return min(spoilt, key=lambda split: (not split.startswith("test"), split), default="")

    def folder(self, row: int) -> Folder:
        """The dataset of a row."""
        return self.folders[self.datasets[row]]

    def place(self, row: int, *, training: bool) -> str:
        """File and line that first uses an image in this way."""
        _, files, lines = self._uses[training]
        return f"{self.files[files[row]][1].name}:{lines[row]}"

    def file(self, row: int) -> Path:
        """The image file of a row."""
        return self.folder(row).images / self.paths[row]
