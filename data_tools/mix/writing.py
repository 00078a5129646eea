"""From converted datasets to a mixture file: gather, leave out, share out, write.

The mixture references record files where they lie. Only where records had to be left out, the rest is
written anew into a folder beside the mixture, before the mixture itself appears.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from data_tools.files import write_whole
from data_tools.mix.leaks import HeldOut, copy_without, leaking_lines
from data_tools.mix.shares import balanced, in_proportion
from data_tools.mix.sources import Part, check_language, how_to_make, parts_of, read_data, remarks, unready
from data_tools.mix.tables import EVALUATION, STAGES, Row, Stage

PER_GRANULARITY = 60_000


@dataclass(frozen=True)
class MixedRow:
    """A row of the paper and what was found for it.

    Attributes:
        row: of the table.
        parts: its record files.
        wanted: samples it should give.
        taken: samples that each file gives.
    """

    row: Row
    parts: tuple[Part, ...]
    wanted: int
    taken: tuple[int, ...]

    @property
    def available(self) -> int:
        """Records that may be trained on."""
        return sum(part.available for part in self.parts)

    @property
    def left_out(self) -> Counter[str]:
        """Records left out, by the benchmark whose test images they show."""
        return Counter(benchmark for part in self.parts for benchmark in part.leaks.values())


@dataclass(frozen=True)
class Mixed:
    """A mixture: its rows in the order of the table, and what a user should know about it."""

    rows: tuple[MixedRow, ...]
    remarks: tuple[str, ...]


def mix(
    stage: Stage,
    data: Path,
    out: Path,
    *,
    seed: int = 0,
    include_overlap: bool = False,
    per_granularity: int = PER_GRANULARITY,
    allow_missing: bool = False,
    repeat: bool = False,
    val: bool = True,
) -> Mixed:
    """Write the mixture file of a stage.

    Args:
        stage: which.
        data: folder of the outputs of `convert NAME --out data/NAME`.
        out: mixture file to write.
        seed: of the order of the samples.
        include_overlap: keep records that show test images of a benchmark.
        per_granularity: stage 2: samples for each expert.
        allow_missing: leave out rows whose dataset is not there.
        repeat: repeat records where fewer are available than wanted.
        val: train on the val splits that the paper trains on.

    Raises:
        ValueError: datasets are missing, do not fit together or are damaged, or nothing is left to take.
    """
    converted = read_data(data)
    rows = STAGES[stage]
    if (missing := unready(rows, converted, val=val)) and not allow_missing:
        reasons = "".join(f"\n  {name}: {reason}" for name, reason in missing.items())
        commands = "".join(f"\n  {command}" for command in how_to_make(missing, data))
        raise ValueError(
            f"{len(missing)} datasets of {stage} are not ready below {data} (--allow-missing does without):"
            f"{reasons}\nConvert them:{commands}"
        )
    found = [(row, parts_of(row, converted, val=val)) for row in rows]
    check_language(part for _, parts in found for part in parts)
    notes = [
        f"rows left empty ({reason}): {', '.join(name for name in missing if missing[name] == reason)}"
        for reason in dict.fromkeys(missing.values())
    ]
    notes += remarks(part for _, parts in found for part in parts)
    if include_overlap:
        notes.append("records that show test images of a benchmark were kept (--include-overlap)")
    else:
        held_out = HeldOut.of(converted.values())
        found = [(row, [_checked(part, held_out) for part in parts]) for row, parts in found]
        notes += _guard_notes(held_out)
    if stage == "stage1":
        mixed = [_stage1_row(row, parts, repeat=repeat) for row, parts in found]
    else:
        mixed = _stage2_rows(found, per_granularity, repeat=repeat)
        notes += _balance_notes(mixed, per_granularity)
    if not any(sum(row.taken) for row in mixed):
        raise ValueError(f"{data} holds nothing for {stage}: all records are missing or show test images")
    _write(stage, mixed, out, seed)
    return Mixed(tuple(mixed), tuple(notes))


def _checked(part: Part, held_out: HeldOut) -> Part:
    return replace(part, leaks=leaking_lines(part.file.path, part.dataset.dataset, held_out))


def _guard_notes(held_out: HeldOut) -> list[str]:
    absent = [name for name in EVALUATION if name not in held_out.guarded + held_out.unnamed]
    notes: dict[str, Sequence[str]] = {
        "no record shows a test image, as far as file names tell, of": held_out.guarded,
        "file names tell nothing about": [name for name in EVALUATION if name in held_out.unnamed],
        "not guarded, since no test split is converted here": absent,
    }
    return [f"{note}: {', '.join(names)}" for note, names in notes.items() if names]


def _stage1_row(row: Row, parts: Sequence[Part], *, repeat: bool) -> MixedRow:
    available = [part.available for part in parts]
    total = row.samples if repeat else min(row.samples, sum(available))
    return MixedRow(row, tuple(parts), row.samples, tuple(in_proportion(total, available)))


def _stage2_rows(found: list[tuple[Row, list[Part]]], total: int, *, repeat: bool) -> list[MixedRow]:
    groups: dict[Any, list[tuple[Row, list[Part]]]] = {}
    for row, parts in found:
        groups.setdefault(row.granularity, []).append((row, parts))
    limits = {name: [_limit(row, parts) for row, parts in group] for name, group in groups.items()}
    wanted, taken = balanced(total, limits, repeat=repeat)
    return [
        MixedRow(
            row,
            tuple(parts),
            wanted[name][number],
            tuple(in_proportion(taken[name][number], [part.available for part in parts])),
        )
        for name, group in groups.items()
        for number, (row, parts) in enumerate(group)
    ]


def _limit(row: Row, parts: Sequence[Part]) -> int:
    """What a row can give to stage 2: what it holds, but no more than its share of stage 1."""
    if not parts:
        return 0
    (stage1,) = (other for other in STAGES["stage1"] if other.converter == row.converter)
    files = parts_of(stage1, {row.converter: parts[0].dataset}, val=True)
    given = in_proportion(stage1.samples, [part.file.records for part in files])
    of_row = sum(count for part, count in zip(files, given, strict=True) if part.file.task in row.tasks)
    return min(of_row, sum(part.available for part in parts))


def _balance_notes(rows: Sequence[MixedRow], total: int) -> list[str]:
    taken: Counter[str] = Counter()
    for mixed in rows:
        assert mixed.row.granularity is not None
        taken[mixed.row.granularity.name.lower()] += sum(mixed.taken)
    notes = [f"the {name} expert gets nothing" for name, count in taken.items() if not count]
    reached = max(taken.values())
    if reached < total:
        notes.append(
            f"every granularity gets {reached:,} samples instead of {total:,}: the smallest one has no more; "
            "--repeat repeats records up to the number wanted"
        )
    return notes


def _write(stage: Stage, rows: Sequence[MixedRow], out: Path, seed: int) -> None:
    folder = out.with_suffix(".records")
    entries = []
    for mixed in rows:
        for part, taken in zip(mixed.parts, mixed.taken, strict=True):
            if taken:
                records = part.file.path
                if part.leaks:
                    records = folder / f"{part.dataset.folder.name}_{part.file.task}_{part.file.split}.jsonl"
                    copy_without(part.file.path, part.leaks, records)
                entries.append(_entry(part, records, taken, out.parent))
    comments = [
        f"# Table {mixed.row.table}, {mixed.row.title} ({mixed.row.type}): wanted {mixed.wanted}, "
        f"available {mixed.available}, taken {sum(mixed.taken)}"
        for mixed in rows
    ]
    content = yaml.safe_dump({"seed": seed, "datasets": entries}, sort_keys=False, allow_unicode=True)
    head = f"# Written by `python -m data_tools mix {stage}`.\n"
    write_whole(out, head + "\n".join(comments) + "\n" + content)
    # Only now: until here an older mixture may have named them.
    named = {entry["records"] for entry in entries}
    for stale in folder.glob("*.jsonl"):
        if _relative(stale, out.parent) not in named:
            stale.unlink()


def _entry(part: Part, records: Path, taken: int, base: Path) -> dict[str, Any]:
    file, dataset = part.file, part.dataset
    # Images that convert cut lie beside the records and move with them; a download has a place of its own.
    own = dataset.images == dataset.folder.resolve()
    return {
        "name": " ".join((dataset.folder.name, file.task, *([] if file.split == "train" else [file.split]))),
        "records": _relative(records, base),
        "images": _relative(dataset.folder, base) if own else str(dataset.images),
        "samples": taken,
    }


def _relative(path: Path, base: Path) -> str:
    return Path(os.path.relpath(path.resolve(), base.resolve())).as_posix()
