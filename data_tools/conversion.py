"""From samples to record files: templates, turns, training and evaluation form, all or nothing.

Below ``--out`` a conversion leaves::

    training/{task}_{split}.jsonl   training form: seeded template per question, up to --turns questions about
                                    one image in one record (one task per record)
    {task}_{split}.jsonl            evaluation form: one question per record, first template, truth in targets
    conversion.json                 options, codecs, counts, bad items, warnings, image root

Splits called ``test*`` get the evaluation form only, splits called ``train*`` the training form only, others
(``val``) both: a test question cannot get into a training mixture by a wrong path.

Images are not copied: paths are relative to the dataset's root, and masks are named where they lie, with the
raw pixel value that means the label (``targets.value``). Name the root as `images` of a mixture.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from data_tools.converter import Converter, Sample, Settings
from data_tools.report import ConversionReport
from rsunivlm.data.records import Record, RecordWriter, Turn
from rsunivlm.tasks import TEMPLATES, Task, render_prompt


@dataclass(frozen=True)
class Conversion:
    """What `convert` did: its report and the number of records by file name below ``out``."""

    report: ConversionReport
    records: dict[str, int]


def convert(
    converter: Converter,
    settings: Settings,
    out: Path,
    *,
    splits: Iterable[str] = (),
    limit: int | None = None,
    turns: int = 1,
    max_bad: float = 0.01,
) -> Conversion:
    """Convert a dataset; ``out`` changes only when everything went well.

    Args:
        converter: which dataset.
        settings: its root and how to read it.
        out: folder of the record files.
        splits: those to convert; by default all that are there.
        limit: at most so many samples per task and split.
        turns: at most so many questions per training record.
        max_bad: largest share of bad samples that is put up with.

    Raises:
        ValueError: the layout is not there, a split is unknown, or too much is bad.
    """
    manifest = converter.manifest
    wanted = _check_splits(converter, settings.root, tuple(splits))
    source = settings.source or manifest.name
    report = ConversionReport(source)
    with _staging(out) as stage:
        counts: dict[str, int] = {}
        for split in wanted:
            samples = converter.read(split, settings, report)
            samples = tqdm(
                _limited(samples, manifest.tasks, limit), desc=split, unit=" samples", disable=None
            )
            counts |= _write_split(samples, split, source, stage, report, settings.seed, turns)
        report.require(max_bad)
        summary = {
            "dataset": source,
            "converter": manifest.name,
            "licence": manifest.licence,
            "images": str(settings.root.resolve()),
            "records": counts,
            "options": {
                "seed": settings.seed,
                "limit": limit,
                "turns": turns,
                "absent_labels": settings.absent_labels,
                "include_overlap": settings.include_overlap,
                "classes": settings.classes,
                "box_codec": settings.boxes.to_dict(),
                "mask_codec": settings.masks.to_dict(),
            },
            **report.to_json(),
        }
        (stage / "conversion.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return Conversion(report, counts)


def training_record(samples: list[Sample], source: str, seed: int) -> Record:
    """Join single-answer samples about the same images into one record of several turns."""
    first = samples[0]
    return Record(
        id=first.id,
        images=first.images,
        turns=tuple(
            _turn(sample, sample.answers[0], _template(sample.id, first.task, seed)) for sample in samples
        ),
        task=first.task,
        source=source,
        targets=first.target if len(samples) == 1 else [sample.target for sample in samples],
    )


def evaluation_record(sample: Sample, source: str) -> Record:
    """One question in the task's first template, with its ground truth."""
    return Record(
        id=sample.id,
        images=sample.images,
        turns=(_turn(sample, sample.answers[0], 0),),
        task=sample.task,
        source=source,
        targets=sample.target,
    )


def _check_splits(converter: Converter, root: Path, splits: tuple[str, ...]) -> tuple[str, ...]:
    if not root.is_dir():
        raise ValueError(f"--root {root} is no folder")
    available = converter.find_splits(root)
    for split in splits:
        if split not in available:
            raise ValueError(f"{root} has no split {split!r}; found: {', '.join(available) or 'none'}")
    return splits or available


def _write_split(
    samples: Iterable[Sample],
    split: str,
    source: str,
    stage: Path,
    report: ConversionReport,
    seed: int,
    turns: int,
) -> dict[str, int]:
    with ExitStack() as stack:
        files = _Files(stage, stack)
        groups: dict[Task, list[Sample]] = {}

        def flush(task: Task) -> None:
            if group := groups.pop(task, []):
                files.write(f"training/{task}_{split}.jsonl", training_record(group, source, seed))

        for sample in samples:
            report.samples[split, sample.task.value] += 1
            if not split.startswith("train"):
                files.write(f"{sample.task}_{split}.jsonl", evaluation_record(sample, source))
            if not sample.training or split.startswith("test"):
                continue
            if len(sample.answers) > 1:
                for record in _one_record_per_answer(sample, source, seed):
                    files.write(f"training/{sample.task}_{split}.jsonl", record)
                continue
            group = groups.get(sample.task, [])
            if group and (group[0].images != sample.images or len(group) == turns):
                flush(sample.task)
            groups.setdefault(sample.task, []).append(sample)
        for task in list(groups):
            flush(task)
        return files.counts()


def _one_record_per_answer(sample: Sample, source: str, seed: int) -> Iterator[Record]:
    # Never several answers to the same question in one sequence: the model would learn from the first what
    # to say second. The references stay in the evaluation form; five copies of them would only fill disks.
    for number, answer in enumerate(sample.answers):
        record_id = f"{sample.id}-{number}"
        turn = _turn(sample, answer, _template(record_id, sample.task, seed))
        yield Record(record_id, sample.images, (turn,), sample.task, source)


def _turn(sample: Sample, answer: str, template: int) -> Turn:
    return Turn(render_prompt(sample.task, template=template, **sample.slots), answer)


def _template(record_id: str, task: Task, seed: int) -> int:
    # A checksum, not a generator: the choice depends on nothing but the record itself and the seed.
    return zlib.crc32(f"{seed}/{record_id}".encode()) % len(TEMPLATES[task])


def _limited(samples: Iterator[Sample], tasks: tuple[Task, ...], limit: int | None) -> Iterator[Sample]:
    if limit is None:
        yield from samples
        return
    left = dict.fromkeys(tasks, limit)
    for sample in samples:
        if left[sample.task] > 0:
            left[sample.task] -= 1
            yield sample
            if not any(left.values()):
                return


@dataclass
class _Files:
    """Record files below a folder, each opened with its first record."""

    folder: Path
    stack: ExitStack
    writers: dict[str, RecordWriter] = field(default_factory=dict)

    def write(self, name: str, record: Record) -> None:
        if name not in self.writers:
            self.writers[name] = self.stack.enter_context(RecordWriter(self.folder / name))
        self.writers[name].write(record)

    def counts(self) -> dict[str, int]:
        return {name: writer.count for name, writer in self.writers.items()}


@contextmanager
def _staging(out: Path) -> Iterator[Path]:
    """A folder inside ``out`` whose files move up into ``out`` when the block ends without an error.

    Inside, not beside: ``out`` may be a file system of its own, and a rename must not cross its border.
    """
    existed = out.exists()
    stage = out / f".{os.getpid()}.partial"
    stage.mkdir(parents=True)
    try:
        yield stage
        for file in sorted(path for path in stage.rglob("*") if path.is_file()):
            goal = out / file.relative_to(stage)
            goal.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, goal)
    finally:
        shutil.rmtree(stage)
        if not existed and not any(out.iterdir()):
            out.rmdir()
