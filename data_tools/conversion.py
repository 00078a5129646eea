"""From samples to record files: templates, turns, training and evaluation form, all or nothing.

Below ``--out`` a conversion leaves::

    training/{task}_{split}.jsonl   training form: seeded template per question, up to --turns questions about
                                    one image in one record (one task per record)
    {task}_{split}.jsonl            evaluation form: one question per record, first template, truth in targets
    conversion.json                 options, codecs, counts, bad items, warnings, image root
    images/, masks/                 only where large rasters had to be cut

Splits called ``test*`` get the evaluation form only, splits called ``train*`` the training form only, others
(``val``) both: a test question cannot get into a training mixture by a wrong path.

Images are not copied: paths are relative to the dataset's root, and masks are named where they lie, with the
raw pixel value that means the label (``targets.value``). Name the root as `images` of a mixture.

Work goes in *chunks* of items. A chunk is the unit of parallelism (`data_tools.chunks` writes it, in this
process or in a worker) and of resuming: a killed conversion that is started again with the same options takes
up the chunks that are there. Chunks are joined in order at the end, so neither the number of workers nor an
interruption changes a byte of the result, and memory does not grow with the dataset.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tqdm import tqdm

from data_tools.chunks import ChunkJob, ChunkResult, write_chunk
from data_tools.converter import Converter, Settings
from data_tools.report import ConversionReport
from rsunivlm.tasks import Task

CHUNK_ITEMS = 256
# Chunks handed out ahead of the one waited for, per worker; bounds the items held in memory.
_AHEAD = 3


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
    workers: int = 1,
    fresh: bool = False,
) -> Conversion:
    """Convert a dataset; the files in ``out`` change only when everything went well.

    Args:
        converter: which dataset.
        settings: its root and how to read it.
        out: folder of the record files.
        splits: those to convert; by default all that are there.
        limit: at most so many samples per task and split.
        turns: at most so many questions per training record.
        max_bad: largest share of bad samples that is put up with.
        workers: processes; 1 works in this one. With a limit, this one does all the work.
        fresh: forget what an interrupted conversion left.

    Raises:
        ValueError: the layout is not there, a split is unknown, or too much is bad.
    """
    manifest = converter.manifest
    wanted = _check_splits(converter, settings.root, tuple(splits))
    report = ConversionReport(settings.source or manifest.name)
    options = {
        "source": report.dataset,
        "seed": settings.seed,
        "limit": limit,
        "turns": turns,
        "absent_labels": settings.absent_labels,
        "include_overlap": settings.include_overlap,
        "classes": settings.classes,
        "crop": settings.crop,
        "layout": settings.layout,
        "box_codec": settings.boxes.to_dict(),
        "mask_codec": settings.masks.to_dict(),
    }
    existed = out.exists()
    stage = out / f".{_fingerprint(manifest.name, settings.root, wanted, options)}.partial"
    if fresh and stage.exists():
        shutil.rmtree(stage)
    stage.mkdir(parents=True, exist_ok=True)
    # Images that are cut out of rasters wait beside the record files until all are published together.
    reading = replace(settings, out=stage / "files")
    try:
        counts: dict[str, int] = {}
        for split in wanted:
            job = ChunkJob(converter, reading, split, report.dataset, turns, stage / "chunks" / split)
            results = _limited(job, report, limit) if limit else _chunks(job, report, workers)
            counts |= _join(results, job.folder, stage / "files", report)
        report.require(max_bad)
        summary = {
            "dataset": report.dataset,
            "converter": manifest.name,
            "licence": manifest.licence,
            "images": str(settings.image_root(manifest).resolve()),
            "records": counts,
            "options": options,
            **report.to_json(),
        }
        _publish(stage / "files", out, summary)
    except (ValueError, OSError):
        # What was read is not to be trusted after a mend. Only a kill leaves chunks to take up.
        shutil.rmtree(stage)
        if not existed and not any(out.iterdir()):
            out.rmdir()
        raise
    shutil.rmtree(stage)
    return Conversion(report, counts)


def _check_splits(converter: Converter, root: Path, splits: tuple[str, ...]) -> tuple[str, ...]:
    if not root.is_dir():
        raise ValueError(f"--root {root} is no folder")
    available = converter.find_splits(root)
    if not available:
        raise ValueError(f"{root} holds no split; expected layout: {converter.manifest.layout}")
    for split in splits:
        if split not in available:
            raise ValueError(f"{root} has no split {split!r}; found: {', '.join(available)}")
    return splits or available


def _fingerprint(name: str, root: Path, splits: tuple[str, ...], options: dict[str, Any]) -> str:
    """Tells one set of options from another, so that chunks of the two never mix."""
    text = json.dumps([name, str(root.resolve()), splits, options, CHUNK_ITEMS], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _chunks(job: ChunkJob, report: ConversionReport, workers: int) -> Iterator[ChunkResult]:
    """Write the chunks of a split and yield their results in order, with at most a few in flight."""
    items = tqdm(
        job.converter.items(job.split, job.settings, report), desc=job.split, unit=" items", disable=None
    )
    manifest = job.converter.manifest
    chosen = manifest.chunk_items if manifest.cuts_images(job.settings.root) else 0
    numbered = enumerate(_batched(items, chosen or CHUNK_ITEMS))
    if workers == 1:
        for number, chunk in numbered:
            yield write_chunk(job, number, chunk)
        return
    # forkserver: a child must not inherit a half-locked thread of the progress bar.
    with ProcessPoolExecutor(workers, mp_context=get_context("forkserver")) as pool:
        flying: deque[Future[ChunkResult]] = deque()
        for number, chunk in numbered:
            flying.append(pool.submit(write_chunk, job, number, chunk))
            if len(flying) >= workers * _AHEAD:
                yield flying.popleft().result()
        while flying:
            yield flying.popleft().result()


def _limited(job: ChunkJob, report: ConversionReport, limit: int) -> Iterator[ChunkResult]:
    """Chunks of one item each until every task has its number of samples."""
    left: dict[Task, int] = dict.fromkeys(job.converter.manifest.tasks, limit)
    for number, item in enumerate(job.converter.items(job.split, job.settings, report)):
        yield write_chunk(job, number, [item], left)
        if not any(left.values()):
            return


def _join(
    results: Iterator[ChunkResult], chunks: Path, files: Path, report: ConversionReport
) -> dict[str, int]:
    """Append each chunk's files to those of the split; keep the chunks until everything has gone well."""
    counts: dict[str, int] = {}
    for result in results:
        report.merge(result.report)
        for name, count in result.records.items():
            goal = files / name
            goal.parent.mkdir(parents=True, exist_ok=True)
            # "wb" first: an interrupted run may have left a beginning of this file.
            with goal.open("ab" if name in counts else "wb") as joined:
                joined.write((chunks / result.name / name).read_bytes())
            counts[name] = counts.get(name, 0) + count
    return counts


def _publish(files: Path, out: Path, summary: dict[str, Any]) -> None:
    for file in sorted(path for path in files.rglob("*") if path.is_file()):
        goal = out / file.relative_to(files)
        goal.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, goal)
    partial = files / "conversion.json"
    partial.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, out / "conversion.json")


def _batched(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    stream = iter(items)
    while chunk := list(itertools.islice(stream, size)):
        yield chunk
