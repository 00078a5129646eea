"""Walks through converted datasets: every line, every image, then what only the whole shows.

Record files are read in chunks and images in batches, by any number of processes with the results in order,
so neither the number of workers nor the size of a dataset changes findings or memory (but for the table of
images: some 300 bytes each).
"""

from __future__ import annotations

import itertools
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from data_tools.converted import ConvertedFile
from data_tools.doctor import counts
from data_tools.doctor.findings import Findings, Kind, Severity
from data_tools.doctor.folder import Folder
from data_tools.doctor.images import ImageTable
from data_tools.doctor.leaks import compared_rows, find_leaks
from data_tools.doctor.pool import Workers
from data_tools.doctor.records import ChunkJob, ChunkResult, check_chunk
from data_tools.label_values import show_code
from data_tools.perceptual import Signature, read_signature
from rsunivlm.tasks import Task

Item = TypeVar("Item")

CHUNK_LINES = 512
_BATCH_IMAGES = 64
_MASK_TASKS = (Task.SS, Task.CD)


@dataclass
class Examination:
    """What was looked at and what was found.

    Attributes:
        folders: the datasets.
        deep: everything was decoded.
        records: records looked at, by dataset.
        images: images named, by dataset.
        decoded: images decoded, all datasets together.
        findings: what is wrong.
    """

    folders: list[Folder]
    deep: bool
    records: Counter[str] = field(default_factory=Counter)
    images: Counter[str] = field(default_factory=Counter)
    decoded: int = 0
    findings: Findings = field(default_factory=Findings)


def examine(outs: Sequence[Path], *, deep: bool = False, workers: int = 1) -> Examination:
    """Check converted datasets, each by itself and against each other.

    Args:
        outs: folders that `convert` wrote.
        deep: decode every image and mask in full and compare masks with their texts.
        workers: processes.

    Raises:
        ValueError: a folder is not of `convert`'s making, or two hold the same dataset.
    """
    folders = [Folder.read(out) for out in outs]
    names = [folder.dataset for folder in folders]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"two of the folders hold {name}: name a dataset once, or convert one with another --source"
            )
    exam = Examination(folders, deep)
    table = ImageTable(folders)
    with Workers(workers) as pool:
        for number, folder in enumerate(folders):
            _examine_folder(exam, table, number, pool)
            counts.check_files(folder, exam.findings)
            counts.check_published(folder, exam.findings)
        exam.images.update(folders[dataset].dataset for dataset in table.datasets)
        signatures = _signatures(exam, table, pool)
    find_leaks(table, signatures, exam.findings)
    return exam


def _examine_folder(exam: Examination, table: ImageTable, number: int, pool: Workers) -> None:
    folder = exam.folders[number]
    mask_values: dict[int, tuple[int, str]] = {}
    asked: set[int] = set()
    for file in folder.files:
        if not file.path.is_file():
            exam.findings.add(folder.dataset, Kind.FILE_MISSING, file.name, "is in conversion.json only")
            continue
        file_number = table.add_file(number, file)
        found, ids, lines = 0, array("Q"), array("I")
        jobs = _jobs(folder, file, deep=exam.deep)
        for result in pool.in_order(check_chunk, jobs):
            found += result.records
            _gather(exam, table, file_number, result)
            ids.extend(digest for digest, _ in result.ids)
            lines.extend(line for _, line in result.ids)
            asked |= result.asked_values
            for value, (count, mask) in result.mask_values.items():
                before, first = mask_values.get(value, (0, mask))
                mask_values[value] = before + count, first
        exam.records[folder.dataset] += found
        counts.check_file(folder, file, found, exam.findings)
        _check_ids(exam, folder, file, ids, lines)
    if not folder.limited:
        _check_values(exam, folder, mask_values, asked)


def _jobs(folder: Folder, file: ConvertedFile, *, deep: bool) -> Iterator[ChunkJob]:
    with file.path.open("rb") as stream:
        lines = tqdm(stream, desc=f"{folder.dataset} {file.name}", unit=" records", disable=None)
        start = 1
        for chunk in _batched(lines, CHUNK_LINES):
            yield ChunkJob(folder, file, deep, start, chunk)
            start += len(chunk)


def _gather(exam: Examination, table: ImageTable, file_number: int, result: ChunkResult) -> None:
    dataset = exam.folders[table.files[file_number][0]].dataset
    for kind, place, detail in result.findings:
        exam.findings.add(dataset, kind, place, detail)
    for image, line in result.images.items():
        table.add(file_number, image, line, broken=image in result.broken)


def _check_ids(
    exam: Examination, folder: Folder, file: ConvertedFile, ids: array[int], lines: array[int]
) -> None:
    """Report every record whose id an earlier one has; 12 bytes per record are held, not the ids."""
    if not ids:
        return
    _, first, inverse = np.unique(np.frombuffer(ids, np.uint64), return_index=True, return_inverse=True)
    repeats = np.flatnonzero(first[inverse] != np.arange(len(ids)))
    for position in repeats.tolist():
        earlier = lines[int(first[inverse[position]])]
        place = f"{file.name}:{lines[position]}"
        exam.findings.add(folder.dataset, Kind.DUPLICATE_ID, place, f"has the id of line {earlier}")


def _check_values(
    exam: Examination, folder: Folder, values: dict[int, tuple[int, str]], asked: set[int]
) -> None:
    """Report mask values that no question asks for, besides one: the background's.

    Evaluation asks for every class, so what is left over there is certainly unknown; training alone may never
    ask for a class that is too small everywhere.
    """
    left = sorted(values.keys() - asked, key=lambda value: (-values[value][0], value))
    evaluated = any(not file.training and file.task in _MASK_TASKS for file in folder.files)
    for value in left[1:]:
        count, mask = values[value]
        exam.findings.add(
            folder.dataset,
            Kind.MASK_VALUE,
            mask,
            f"{show_code(value)} is neither asked for nor the background; {count} masks have it",
            Severity.ERROR if evaluated else Severity.WARNING,
        )


def _signatures(exam: Examination, table: ImageTable, pool: Workers) -> dict[int, Signature]:
    """Decode the images that have to be: all with `deep`, else those that may be in two splits."""
    compared = compared_rows(table)
    rows = [row for row in range(len(table)) if row not in table.broken] if exam.deep else compared
    signatures: dict[int, Signature] = {}
    jobs = (
        [(row, table.file(row), exam.deep) for row in batch] for batch in _batched(iter(rows), _BATCH_IMAGES)
    )
    with tqdm(total=len(rows), desc="pictures", unit=" images", disable=None) as progress:
        for results in pool.in_order(_look, jobs):
            progress.update(len(results))
            for row, seen in results:
                if isinstance(seen, str):
                    exam.findings.add(table.folder(row).dataset, Kind.IMAGE_DAMAGED, table.paths[row], seen)
                elif compared:
                    signatures[row] = seen
    exam.decoded = len(rows)
    return signatures


def _look(batch: list[tuple[int, Path, bool]]) -> list[tuple[int, Signature | str]]:
    seen: list[tuple[int, Signature | str]] = []
    for row, path, whole in batch:
        try:
            seen.append((row, read_signature(path, whole=whole)))
        except ValueError as error:
            seen.append((row, str(error)))
    return seen


def _batched(items: Iterable[Item], size: int) -> Iterator[tuple[Item, ...]]:
    stream = iter(items)
    while batch := tuple(itertools.islice(stream, size)):
        yield batch
