"""Mixtures: which records of which datasets make up an epoch, and in which order.

A mixture is a YAML file::

    seed: 0
    datasets:
      - {name: synth, records: data/synth/train.jsonl, images: data/synth, samples: 20000}
      - {name: dior_rsvg, records: "${DIOR:-data/dior}/train.jsonl", fraction: 0.5}

``samples`` is a count, ``fraction`` a share of the file (above 1 repeats it); without either every record is
taken once. ``images`` is the image root, by default the folder of the record file. ``${VAR}`` and
``${VAR:-default}`` are read from the environment. Relative paths start at the folder of the YAML file.

The order of an epoch is *computed, not drawn as we go*: `Mixture.plan` is a pure function of the seed, the
epoch and the mixture, so a resumed run or a run with another number of loader workers sees the same samples.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from rsunivlm.data.records import RecordFile
from rsunivlm.yaml_files import read_yaml

_Number = TypeVar("_Number", int, float)

_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
_DATASET_KEYS = ("name", "records", "images", "samples", "fraction")


@dataclass(frozen=True)
class MixtureDataset:
    """One dataset of a mixture.

    Attributes:
        name: unique within the mixture.
        records: the opened record file.
        images: image root of its records.
        taken: samples per epoch; above ``len(records)`` records repeat.
    """

    name: str
    records: RecordFile
    images: Path
    taken: int


@dataclass(frozen=True)
class Mixture:
    """Datasets with their sample counts, and the seed of the order."""

    datasets: tuple[MixtureDataset, ...]
    seed: int = 0

    @classmethod
    def load(cls, source: str | Path | Mapping[str, Any], base: str | Path | None = None) -> Mixture:
        """Read a mixture and index its record files.

        Args:
            source: a YAML file, or its content as a mapping.
            base: where relative paths start; by default the YAML file's folder, or the working directory.

        Raises:
            ValueError: unknown key, bad value, unset variable, missing file or empty dataset; the message
                names the mixture, the dataset, the key and the mend.
        """
        if isinstance(source, Mapping):
            where, content = "mixture", source
            folder = Path(base or ".")
        else:
            where, content = str(source), read_yaml(Path(source), "mixture")
            folder = Path(base or Path(source).parent)
        _check_keys(content, ("seed", "datasets"), where)
        entries = content.get("datasets")
        if not isinstance(entries, list) or not entries:
            raise ValueError(f"{where}: 'datasets' must be a list with at least one dataset")
        datasets = tuple(_dataset(entry, folder, f"{where}: dataset {i}") for i, entry in enumerate(entries))
        names = [dataset.name for dataset in datasets]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{where}: two datasets are called {name!r}; give each its own name")
        return cls(datasets, _number(content.get("seed", 0), int, "seed", where, minimum=0))

    def __len__(self) -> int:
        """Samples per epoch."""
        return sum(dataset.taken for dataset in self.datasets)

    def plan(self, epoch: int) -> np.ndarray:
        """Return the order of one epoch.

        A dataset of n records from which k are taken gives k // n whole copies and k % n further records,
        drawn anew each epoch without repetition. The draw of a dataset depends on its name, not on its
        neighbours, so that adding a dataset leaves the others' samples as they were.

        Args:
            epoch: 0, 1, ...

        Returns:
            (len(self), 2) int64: dataset index, record index; a pure function of (seed, epoch, mixture).
        """
        parts = []
        for index, dataset in enumerate(self.datasets):
            available = len(dataset.records)
            generator = np.random.default_rng([self.seed, epoch, zlib.crc32(dataset.name.encode())])
            copies = np.tile(np.arange(available), dataset.taken // available)
            rest = generator.permutation(available)[: dataset.taken % available]
            chosen = np.concatenate([copies, rest])
            parts.append(np.stack([np.full_like(chosen, index), chosen], axis=1))
        plan = np.concatenate(parts)
        return np.random.default_rng([self.seed, epoch]).permutation(plan)


def expand_variables(text: str, where: str) -> str:
    """Put in the values of ``${VAR}`` and ``${VAR:-default}`` from the environment.

    Args:
        text: with variables.
        where: what the text belongs to, for the message.

    Raises:
        ValueError: a variable without a default is not set.
    """

    def replace(match: re.Match[str]) -> str:
        name, default = match.groups()
        value = os.environ.get(name) or default
        if value is None:
            raise ValueError(f"{where} uses ${{{name}}}, which is not set; set it or give a default")
        return value

    return _VARIABLE.sub(replace, text)


def _check_keys(entry: Any, known: tuple[str, ...], where: str) -> None:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{where}: must be a mapping with the keys {', '.join(known)}")
    for key in entry:
        if key not in known:
            raise ValueError(f"{where}: unknown key {key!r}; known are {', '.join(known)}")


def _dataset(entry: Any, folder: Path, where: str) -> MixtureDataset:
    _check_keys(entry, _DATASET_KEYS, where)
    name = _string(entry, "name", where)
    where = f"{where} ({name})"
    path = folder / Path(_string(entry, "records", where)).expanduser()
    if not path.is_file():
        raise ValueError(f"{where}: 'records' file {path} does not exist; convert it or correct the path")
    images = folder / Path(_string(entry, "images", where)).expanduser() if "images" in entry else path.parent
    if not images.is_dir():
        raise ValueError(f"{where}: 'images' folder {images} does not exist")
    records = RecordFile(path)
    if len(records) == 0:
        raise ValueError(f"{where}: 'records' file {path} is empty; convert the dataset again or remove it")
    if "samples" in entry and "fraction" in entry:
        raise ValueError(f"{where}: give 'samples' or 'fraction', not both")
    taken = len(records)
    if "samples" in entry:
        taken = _number(entry["samples"], int, "samples", where, minimum=1)
    elif "fraction" in entry:
        fraction = _number(entry["fraction"], float, "fraction", where, minimum=0)
        taken = round(fraction * len(records))
        if taken == 0:
            raise ValueError(f"{where}: 'fraction' {fraction:g} of {len(records)} records takes none of them")
    return MixtureDataset(name, records, images, taken)


def _string(entry: Mapping[str, Any], key: str, where: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{where}: '{key}' must be a non-empty string, got {value!r}")
    return expand_variables(value, f"{where}: '{key}'")


def _number(value: Any, kind: type[_Number], key: str, where: str, *, minimum: int) -> _Number:
    # A string comes from a variable ("${SAMPLES:-2000}"); YAML has typed all other numbers already.
    text = expand_variables(value, f"{where}: '{key}'") if isinstance(value, str) else repr(value)
    try:
        number = kind(text)
    except ValueError:
        number = None
    if number is None or not minimum <= number < float("inf"):
        name = "a whole number" if kind is int else "a number"
        raise ValueError(f"{where}: '{key}' must be {name} of at least {minimum}, got {value!r}")
    return number
