"""From a benchmark's name to checked questions.

A benchmark is read in its native layout by its converter (`data_tools`), as the same records that training
uses, and checked before any model is loaded. Besides the questions it gives the records that fitted baselines
may learn from: its training split, where it has one. The benchmarks themselves stand in `eval.registry`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from data_tools.chunks import evaluation_record
from data_tools.converter import Converter, Settings
from data_tools.files import image_size
from data_tools.registry import converters
from data_tools.report import ConversionReport
from eval.registry import BENCHMARKS, DEFAULT, Benchmark
from eval.tasks import TaskModule
from rsunivlm.codecs import BoxCodec
from rsunivlm.data.records import Record, read_records, resolve_image
from rsunivlm.tasks import Task

RECORDS = "records"
# A larger share of unreadable questions means a broken download; scores over the rest would mislead.
MAX_BAD = 0.01


@dataclass(frozen=True)
class Questions:
    """The questions of one run, checked.

    Attributes:
        benchmark: Name for results and output folder.
        task: The task of all records.
        split: Split they come from.
        root: Folder that the image paths are relative to.
        records: At least one, each with a single turn.
        fit_split: Where `fit_records` come from.
        fit_records: Records that baselines may be fitted on; empty when the benchmark has none.
        notes: What a reader of the scores must know.
    """

    benchmark: str
    task: Task
    split: str
    root: Path
    records: tuple[Record, ...]
    fit_split: str = ""
    fit_records: tuple[Record, ...] = ()
    notes: tuple[str, ...] = ()


def tasks_of(name: str | None) -> tuple[Task, ...]:
    """The tasks that a benchmark has questions for.

    Raises:
        ValueError: there is no such benchmark, or it is a record file, which does not say.
    """
    row = BENCHMARKS.get(name or DEFAULT)
    if row is None:
        raise ValueError(f"--task all needs one of the benchmarks {', '.join(BENCHMARKS)}, not {name!r}")
    return row.tasks


def load(
    name: str | None,
    task: Task,
    module: TaskModule,
    data: Path | None,
    split: str | None,
    cache: Path | None = None,
) -> Questions:
    """Read and check the questions of a benchmark.

    Args:
        name: A name of `BENCHMARKS`, ``"records"`` (then `data` is a record file), the path of a record file,
            or None for the bundled benchmark.
        task: The task to ask for; a record file may hold others, which are left out and counted in the notes.
        module: Its module, for the check of the targets.
        data: Folder of the benchmark; for a record file, the folder its image paths are relative to.
        split: A split of the benchmark; None for its default.
        cache: Folder for crops, where a benchmark is cut out of large rasters; later runs find them there.

    Raises:
        ValueError: Unknown name or split, missing data, an image that does not exist, targets that cannot be
            scored, or no question at all; the message names file or record and what is known.
    """
    known = ", ".join((*BENCHMARKS, RECORDS))
    if name is None and data is not None:
        raise ValueError(f"--data needs --benchmark, to say how the folder is to be read; known: {known}")
    name = name or DEFAULT
    if name == RECORDS or Path(name).suffix in (".jsonl", ".json"):
        questions = _from_record_file(name, task, data, split)
    elif name not in BENCHMARKS:
        raise ValueError(f"unknown benchmark {name!r}; known: {known}, or the path of a .jsonl record file")
    else:
        questions = _from_benchmark(BENCHMARKS[name], task, data, split, cache)
    _check(questions, module)
    return questions


def _from_benchmark(
    row: Benchmark, task: Task, data: Path | None, split: str | None, cache: Path | None
) -> Questions:
    if task not in row.tasks:
        raise ValueError(
            f"benchmark {row.name} has no questions for task {task}; it has {', '.join(row.tasks)}"
        )
    split = split or row.split
    converter = converters()[row.converter] if row.converter else None
    root = data or row.default_data
    if root is None or not root.is_dir():
        layout = converter.manifest.layout if converter else f"{task}.jsonl and the images it names"
        found = "--data DIR is missing" if root is None else f"no such data folder: {root}"
        raise ValueError(f"{found}; benchmark {row.name} needs a folder with {layout}")
    splits = converter.find_splits(root) if converter else (row.split,)
    if split not in splits:
        raise ValueError(f"benchmark {row.name} has no split {split!r} in {root}; found: {', '.join(splits)}")
    if converter is None:
        records = tuple(read_records(root / f"{task}.jsonl"))
        return Questions(row.name, task, split, root, records, notes=row.notes)
    # Training leaves out boxes that vanish on its 0..100 scale. A score has to count them, so the text of the
    # true answer, which no score reads, is written on a scale where nothing vanishes.
    boxes = BoxCodec(range=1_000_000)
    settings = Settings(root, out=_crops(cache, row, root), boxes=boxes, classes=row.classes)
    image_root = settings.image_root(converter.manifest)
    records, notes = _convert(converter, settings, task, split)
    fit_split = row.fit_split if row.fit_split in splits and row.fit_split != split else ""
    fit_records = _convert(converter, settings, task, fit_split)[0] if fit_split else ()
    return Questions(row.name, task, split, image_root, records, fit_split, fit_records, row.notes + notes)


def _crops(cache: Path | None, row: Benchmark, root: Path) -> Path | None:
    """The folder for the crops of one download; another download of the same set gets another one."""
    if cache is None:
        return None
    return cache / f"{row.name}-{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:8]}"


def _convert(
    converter: Converter, settings: Settings, task: Task, split: str
) -> tuple[tuple[Record, ...], tuple[str, ...]]:
    """The evaluation records of one split, and what happened while reading them."""
    report = ConversionReport(converter.manifest.name)
    records = []
    for sample in converter.read(split, settings, report):
        if sample.task is task:
            report.samples[split, task.value] += 1
            records.append(evaluation_record(sample, converter.manifest.name))
    report.require(MAX_BAD)
    notes = [
        *report.warnings,
        *(f"left out: {count} x {reason}" for reason, count in report.left_out.items()),
    ]
    if report.bad:
        notes.append(f"left out as unreadable: {report.named_problems(limit=3)}")
    published = converter.manifest.counts.get(split)
    counted = converter.manifest.counted_task in (None, task)
    if published is not None and counted and published != len(records):
        notes.append(
            f"{len(records)} questions, but the published {split} split has {published}: "
            "not comparable with published scores"
        )
    return tuple(records), tuple(notes)


def _from_record_file(name: str, task: Task, data: Path | None, split: str | None) -> Questions:
    """Questions from a user's record file; its image root is its own folder unless `--data` names one."""
    if name != RECORDS:
        path = Path(name)
        root = data or path.parent
    elif data is not None:
        path, root = data, data.parent
    else:
        raise ValueError("benchmark records needs --data FILE.jsonl (or name the file itself as --benchmark)")
    if split is not None:
        raise ValueError(f"a record file has no splits, so --split {split} does not apply to {path}")
    everything = list(read_records(path))
    records = tuple(record for record in everything if record.task is task)
    if everything and not records:
        found = sorted({record.task.value for record in everything})
        raise ValueError(f"{path} has no records of task {task}, only of {', '.join(found)}")
    skipped = len(everything) - len(records)
    notes = (f"left out: {skipped} records of other tasks",) if skipped else ()
    return Questions(path.stem, task, "all", root, records, notes=notes)


def _check(questions: Questions, module: TaskModule) -> None:
    """Find everything that would stop the run later, before a model is loaded."""
    where = f"benchmark {questions.benchmark}, split {questions.split}"
    if not questions.records:
        raise ValueError(f"{where}: the dataset is empty, there is no question for task {questions.task}")
    seen: set[str] = set()
    sizes: dict[str, tuple[int, int]] = {}
    for record in questions.records:
        if record.id in seen:
            raise ValueError(f"{where}: two records have the id {record.id!r}; ids must be unique")
        seen.add(record.id)
    for record in (*questions.records, *questions.fit_records):
        try:
            module.check(record)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
    for image in dict.fromkeys(image for record in questions.records for image in record.images):
        try:
            sizes[image] = image_size(resolve_image(questions.root, image))
        except ValueError as error:
            raise ValueError(f"{where}: {error} ({resolve_image(questions.root, image)})") from error
    for record in questions.records:
        _check_mask_size(record, questions.root, sizes[record.images[-1]])
        declared = record.targets.get("image_size") if isinstance(record.targets, dict) else None
        if declared is not None and tuple(declared) != sizes[record.images[0]]:
            # Boxes of another scale would be scored as wrong, silently.
            raise ValueError(
                f"record {record.id}: image {record.images[0]} is {list(sizes[record.images[0]])} pixels, "
                f"but its targets are given for {list(declared)}"
            )


def _check_mask_size(record: Record, root: Path, image: tuple[int, int]) -> None:
    """Raise ValueError where a record has a true mask and that is not there or not of its image's size."""
    if not isinstance(record.targets, dict) or "mask" not in record.targets:
        return
    try:
        mask = image_size(resolve_image(root, record.targets["mask"]))
    except ValueError as error:
        raise ValueError(f"record {record.id}: mask {record.targets['mask']}: {error}") from error
    if mask != image:
        raise ValueError(
            f"record {record.id}: image {record.images[-1]} is {list(image)} pixels, "
            f"but its mask {record.targets['mask']} {list(mask)}"
        )
