"""Keep the test images of every benchmark out of a mixture, whatever dataset they come in.

A converter leaves out what its own test split holds. Across datasets the same picture goes under other names
(VRSBench is cut from DIOR, RSICD from AID); `data_tools.identity` says which collection and which picture a
file is. The test images are those of the evaluation files below the common folder: a benchmark that was never
converted cannot be guarded.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from data_tools.converted import Converted
from data_tools.identity import origin


@dataclass(frozen=True)
class HeldOut:
    """The pictures that benchmarks test on, which nobody may train on.

    Attributes:
        benchmark_of: identity of a picture -> name of the first benchmark that tests on it.
        guarded: benchmarks whose test pictures have a known identity.
        unnamed: benchmarks whose file names tell nothing about where else a picture may be.
    """

    benchmark_of: dict[tuple[str, str], str]
    guarded: tuple[str, ...]
    unnamed: tuple[str, ...]

    @classmethod
    def of(cls, converted: Iterable[Converted]) -> HeldOut:
        """Collect the test images of converted datasets.

        Raises:
            ValueError: a record file is damaged.
        """
        benchmark_of: dict[tuple[str, str], str] = {}
        guarded: dict[str, bool] = {}
        for dataset in converted:
            tests = [file for file in dataset.files if not file.training and file.split.startswith("test")]
            for file in tests:
                guarded.setdefault(dataset.dataset, False)
                for _, images in _lines(file.path):
                    for image in images:
                        if identity := origin(dataset.dataset, image):
                            benchmark_of.setdefault(identity, dataset.dataset)
                            guarded[dataset.dataset] = True
        known = tuple(name for name, named in guarded.items() if named)
        return cls(benchmark_of, known, tuple(name for name in guarded if name not in known))

    def benchmark(self, dataset: str, images: Iterable[str]) -> str | None:
        """Name a benchmark that tests on one of the images of a dataset."""
        for image in images:
            identity = origin(dataset, image)
            if identity in self.benchmark_of:
                return self.benchmark_of[identity]
        return None


def leaking_lines(path: Path, dataset: str, held_out: HeldOut) -> dict[int, str]:
    """Find the records of a file that show test images.

    Returns:
        Line number, from 0 -> name of the benchmark.

    Raises:
        ValueError: a line is no record; names file and line.
    """
    if not held_out.benchmark_of:
        return {}
    progress = tqdm(_lines(path), desc=f"{dataset}/{path.name}", unit=" records", disable=None, leave=False)
    found = ((number, held_out.benchmark(dataset, images)) for number, images in progress)
    return {number: benchmark for number, benchmark in found if benchmark}


def copy_without(path: Path, leaks: dict[int, str], goal: Path) -> Counter[str]:
    """Write a record file without some lines, atomically; returns the lines left out by benchmark."""
    goal.parent.mkdir(parents=True, exist_ok=True)
    partial = goal.with_name(f".{goal.name}.{os.getpid()}.partial")
    with path.open("rb") as whole, partial.open("wb") as rest:
        rest.writelines(line for number, line in enumerate(whole) if number not in leaks)
    os.replace(partial, goal)
    return Counter(leaks.values())


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and image paths of a record file; the rest of the record is not looked at."""
    with path.open("rb") as file:
        for number, line in enumerate(file):
            try:
                images = json.loads(line)["image"]
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path}:{number + 1}: is no record ({error!r}); convert again") from error
            yield number, [images] if isinstance(images, str) else images
