"""Checks some lines of a record file, with everything they refer to.

A chunk is checked in any process and knows nothing of the others: what concerns the whole file or folder (ids
that occur twice, values of all masks, images in training and evaluation) goes back as small facts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_tools.converted import ConvertedFile
from data_tools.doctor.findings import Kind
from data_tools.doctor.folder import Folder
from data_tools.doctor.masks import MaskChecker
from data_tools.doctor.texts import Fault, check_answer, check_box_readable, check_boxes
from data_tools.files import image_size
from rsunivlm.data.records import Record, resolve_image
from rsunivlm.tasks import Task

Size = tuple[int, int]

_OF_MASKS = (Kind.MASK_MISSING, Kind.MASK_UNREADABLE, Kind.MASK_SIZE)


@dataclass(frozen=True)
class ChunkJob:
    """Consecutive lines of a record file; `start` is the number of the first, counted from 1."""

    folder: Folder
    file: ConvertedFile
    deep: bool
    start: int
    lines: tuple[bytes, ...]


@dataclass
class ChunkResult:
    """What a chunk holds.

    Attributes:
        findings: kind, place and details of what is wrong.
        records: lines that are not blank.
        ids: a 64-bit digest of each record's id, with its line.
        images: images of sound records, with the line that first names each.
        broken: images among them that cannot be opened.
        mask_values: pixel values found in the masks (only with `deep`), each with the number of masks that
            have it and one of them.
        asked_values: pixel values that the records ask for or ignore.
    """

    findings: list[tuple[Kind, str, str]] = field(default_factory=list)
    records: int = 0
    ids: list[tuple[int, int]] = field(default_factory=list)
    images: dict[str, int] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    mask_values: dict[int, tuple[int, str]] = field(default_factory=dict)
    asked_values: set[int] = field(default_factory=set)


def check_chunk(job: ChunkJob) -> ChunkResult:
    """Check the lines of a chunk."""
    result = ChunkResult()
    images = _Images(job.folder.images)
    masks = MaskChecker(job.folder.images, job.folder.masks, job.deep)
    for line_number, line in enumerate(job.lines, start=job.start):
        if not line.strip():
            continue
        result.records += 1
        place = f"{job.file.name}:{line_number}"
        try:
            record = Record.from_json(json.loads(line), place)
        except (
            ValueError,
            RecursionError,
        ) as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
            result.findings.append((Kind.BAD_RECORD, place, _without(place, str(error))))
            continue
        digest = hashlib.blake2b(record.id.encode(), digest_size=8).digest()
        result.ids.append((int.from_bytes(digest, "little"), line_number))
        for image in record.images:
            result.images.setdefault(image, line_number)
        sizes = images.sizes(record.images, result.findings)
        for kind, detail in _check_record(record, job, sizes, masks):
            # The faults of a file belong to the file, not to every record that names it.
            where = {Kind.IMAGE_SIZE: record.images[-1], **dict.fromkeys(_OF_MASKS, masks.path)}
            result.findings.append((kind, where.get(kind, place), detail))
    result.broken = images.broken
    result.mask_values, result.asked_values = masks.values, masks.asked
    return result


class _Images:
    """Sizes of images, each opened once per chunk."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._sizes: dict[str, Size | None] = {}
        self.broken: set[str] = set()

    def sizes(
        self, images: tuple[str, ...], findings: list[tuple[Kind, str, str]]
    ) -> tuple[Size | None, ...]:
        """Sizes of a record's images, None for one that cannot be opened, which is reported once."""
        for image in images:
            if image not in self._sizes:
                self._sizes[image] = None
                try:
                    self._sizes[image] = self._open(image)
                except _ImageError as error:
                    self.broken.add(image)
                    findings.append((error.kind, image, str(error)))
        found = tuple(self._sizes[image] for image in images)
        if len(found) == 2 and None not in found and found[0] != found[1]:
            findings.append(
                (Kind.PAIR_SIZES, images[1], f"is {_show(found[1])}, {images[0]} {_show(found[0])}")
            )
        return found

    def _open(self, image: str) -> Size:
        try:
            path = resolve_image(self._root, image)
        except ValueError as error:
            raise _ImageError(Kind.OUTSIDE, str(error)) from error
        if not path.is_file():
            raise _ImageError(Kind.IMAGE_MISSING, f"is not below {self._root}")
        if path.stat().st_size == 0:
            raise _ImageError(Kind.IMAGE_EMPTY, "holds nothing")
        try:
            return image_size(path)
        except ValueError as error:
            raise _ImageError(Kind.IMAGE_UNREADABLE, str(error)) from error


class _ImageError(Exception):
    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def _check_record(
    record: Record, job: ChunkJob, sizes: tuple[Size | None, ...], masks: MaskChecker
) -> Iterator[Fault]:
    if record.targets is None:
        # One of several answers in training form; the evaluation form has them all.
        if not job.file.training or record.task.answer_kind != "text":
            yield Kind.NO_TRUTH, "has no targets"
        elif record.task is Task.REG:
            yield from check_box_readable(record.turns[0], job.folder.boxes)
        return
    targets = record.targets if isinstance(record.targets, list) else [record.targets]
    size = sizes[-1]
    for turn, target in zip(record.turns, targets, strict=True):
        missing = [name for name in _NEEDED[record.task] if name not in target]
        if missing:
            yield Kind.NO_TRUTH, f"targets lack {', '.join(missing)}"
        elif record.task in (Task.VG, Task.REG):
            yield from check_boxes(record.task, turn, target, size, job.folder.boxes)
        elif record.task in (Task.SS, Task.CD):
            yield from masks.check(turn.answer, target, size)
        if not missing and record.task.answer_kind == "text":
            yield from check_answer(record.task, turn, target)


_NEEDED: dict[Task, tuple[str, ...]] = {
    Task.VG: ("boxes_px", "image_size"),
    Task.REG: ("box_px", "image_size", "references"),
    Task.SC: ("label",),
    Task.VQA: ("answer",),
    Task.CAP: ("references",),
    Task.CC: ("references",),
    Task.SS: ("mask", "labels", "value"),
    Task.CD: ("mask", "labels", "value"),
}


def _without(place: str, message: str) -> str:
    return message.removeprefix(place).lstrip(": ")


def _show(size: Any) -> str:
    return f"{size[0]} x {size[1]}"
