"""One chunk of a conversion: some items in, the lines of some record files out.

A chunk is written into a folder of its own, which gets its name only when everything in it is complete. So a
chunk either is there as a whole or is not, whatever happens to the process that writes it.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_tools.converter import Converter, Sample, Settings
from data_tools.report import ConversionReport
from rsunivlm.data.records import Record, RecordWriter, Turn
from rsunivlm.tasks import TEMPLATES, Task, render_prompt

_RESULT = "result.json"


@dataclass(frozen=True)
class ChunkJob:
    """What all chunks of a split have in common.

    Attributes:
        converter: the dataset.
        settings: how to read it.
        split: which split.
        source: name that the records carry.
        turns: at most so many questions per training record.
        folder: where the chunks' folders go.
    """

    converter: Converter
    settings: Settings
    split: str
    source: str
    turns: int
    folder: Path


@dataclass(frozen=True)
class ChunkResult:
    """A finished chunk: name of its folder, number of records by file name in it, report."""

    name: str
    records: dict[str, int]
    report: ConversionReport


def write_chunk(
    job: ChunkJob, number: int, items: Sequence[Any], left: dict[Task, int] | None = None
) -> ChunkResult:
    """Write the records of some items, or find that an earlier run has.

    Args:
        job: the split.
        number: position of the chunk in the split.
        items: the items, in order.
        left: how many more samples of each task are wanted; counted down. None takes all.
    """
    name = f"{number:06}"
    final, partial = job.folder / name, job.folder / f"{name}.partial"
    if left is None and final.is_dir():
        content = json.loads((final / _RESULT).read_text(encoding="utf-8"))
        return ChunkResult(
            name, content["records"], ConversionReport.from_json(job.source, content["report"])
        )
    for stale in (partial, final):
        shutil.rmtree(stale, ignore_errors=True)
    partial.mkdir(parents=True)
    report = ConversionReport(job.source)
    with ExitStack() as stack:
        files = _Files(partial, stack)
        for item in items:
            _write_item(job, item, files, report, left)
    content = {"records": files.counts(), "report": report.to_json()}
    (partial / _RESULT).write_text(json.dumps(content), encoding="utf-8")
    os.rename(partial, final)
    return ChunkResult(name, files.counts(), report)


def training_record(samples: Sequence[Sample], source: str, seed: int) -> Record:
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


def _write_item(
    job: ChunkJob, item: Any, files: _Files, report: ConversionReport, left: dict[Task, int] | None
) -> None:
    """Write the records of one item; its samples are few, so they are grouped in memory."""
    groups: dict[tuple[Any, ...], list[Sample]] = {}
    seed = job.settings.seed
    for sample in job.converter.samples(item, job.settings, report):
        if left is not None:
            if left[sample.task] == 0:
                continue
            left[sample.task] -= 1
        report.samples[job.split, sample.task.value] += 1
        if not job.split.startswith("train"):
            files.write(f"{sample.task}_{job.split}.jsonl", evaluation_record(sample, job.source))
        if not sample.training or job.split.startswith("test"):
            pass
        elif len(sample.answers) > 1:
            name = f"training/{sample.task}_{job.split}.jsonl"
            for record in _one_record_per_answer(sample, job.source, seed):
                files.write(name, record)
        else:
            groups.setdefault((sample.task, sample.images, sample.conversation), []).append(sample)
        if left is not None and not any(left.values()):
            break
    for (task, _, conversation), samples in groups.items():
        size = len(samples) if conversation else job.turns
        for start in range(0, len(samples), size):
            record = training_record(samples[start : start + size], job.source, seed)
            files.write(f"training/{task}_{job.split}.jsonl", record)


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
