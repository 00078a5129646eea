"""Asking a model the questions of a benchmark: in batches, in several processes, and across a kill.

Every answer is written down as soon as it is there, in the *journal* of its process. A run that starts again
with the same questions, model and decoding reads all journals first and asks only what is missing. The
predictions are made from the journals at the end, in the order of the benchmark.

So they depend neither on the number of processes nor on where a run was killed, not even by the last bit of a
logit: the questions are divided into batches before anything else, a process takes whole batches, and a batch
of which an answer is missing is asked again as a whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from eval.benchmarks import Questions
from eval.predictions import Prediction
from eval.processes import ALONE, Processes
from eval.prompts import box_respelled
from eval.tasks import Answerer, TaskModule, Yardsticks
from rsunivlm import __version__
from rsunivlm.codecs import BoxCodec
from rsunivlm.data.records import Record, resolve_image
from rsunivlm.images import open_image
from rsunivlm.inference.answer import Answer, Request
from rsunivlm.tasks import route

Entry = dict[str, Any]  # one line of a journal

# Predictions hold boxes of prompts on one scale, whatever scale the model was asked on: that of the paper.
_WRITTEN = BoxCodec()
# Seconds; network file systems show the files of other machines late, but within this time.
_FILES_APPEAR_WITHIN = 90


class Answered(NamedTuple):
    """What `predict` gives.

    Attributes:
        predictions: in the order of the benchmark.
        yardsticks: fitted on all questions, so that a limited run has the same ones.
        journals: folder of the journals; `forget` it once the predictions are written elsewhere.
    """

    predictions: list[Prediction]
    yardsticks: Yardsticks
    journals: Path


def forget(journals: Path) -> None:
    """Remove the journals of a run; those of other runs beside them stay, as these may be unfinished."""
    shutil.rmtree(journals, ignore_errors=True)
    if not any(journals.parent.iterdir()):
        journals.parent.rmdir()


def choose(questions: Questions, limit: int | None, seed: int) -> list[int]:
    """Indices of the questions to ask, in order: all of them, or `limit` drawn with `seed`."""
    indices = list(range(len(questions.records)))
    if limit is None or limit >= len(indices):
        return indices
    return sorted(np.random.default_rng(seed).choice(len(indices), limit, replace=False).tolist())


def predict(
    answerer: Answerer,
    questions: Questions,
    module: TaskModule,
    chosen: Sequence[int],
    journals: Path,
    *,
    batch_size: int = 16,
    processes: Processes = ALONE,
) -> Answered | None:
    """Answer the chosen questions.

    Args:
        answerer: The model.
        questions: Checked questions, see `eval.benchmarks.load`.
        module: The module of their task.
        chosen: Indices of the questions to ask.
        journals: Folder for the journals; what an interrupted run left in it is taken up.
        batch_size: Questions answered at once.
        processes: This process among all.

    Returns:
        Predictions and yardsticks; None in all processes but the first.

    Raises:
        ValueError: An image cannot be decoded (the message names it), here or in another process, or another
            process has died. What was answered so far is kept.
    """
    room = module.max_new_tokens(answerer)
    shared = {
        "benchmark": questions.benchmark,
        "split": questions.split,
        "task": questions.task.value,
        "decoder": {"strategy": "greedy", "max_new_tokens": room},
        "model": answerer.describe(),
    }
    records = [questions.records[index] for index in chosen]
    folder = journals / _fingerprint(shared, questions.root, records)
    with processes.together():
        done = set(_read_journals(folder))
        batches = [records[start : start + batch_size] for start in range(0, len(records), batch_size)]
        mine = [batch for batch in processes.share(batches) if not all(record.id in done for record in batch)]
        if mine:
            answered = answer_all(answerer, questions.root, mine, batch_size=batch_size, max_new_tokens=room)
            asked = [record for batch in mine for record in batch]
            _write_journal(folder, processes.rank, module, asked, answered)
    if processes.rank != 0:
        return None
    answers = _collect(folder, [record.id for record in records])
    yardsticks = module.yardsticks(questions, answerer)
    predictions = [
        Prediction(
            id=record.id,
            images=record.images,
            prompt=box_respelled(record, _WRITTEN),
            truth=module.truth(record, questions.root),
            yardsticks={name: column[index] for name, column in yardsticks.answers.items()},
            **(answers[record.id] | {"image_size": tuple(answers[record.id]["image_size"])}),
            **shared,
        )
        for index, record in zip(chosen, records, strict=True)
    ]
    return Answered(predictions, yardsticks, folder)


def _write_journal(
    folder: Path,
    rank: int,
    module: TaskModule,
    records: Sequence[Record],
    answered: Generator[tuple[tuple[int, int], Answer], None, None],
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    progress = track(answered, "asking", total=len(records), console=Console(stderr=True, quiet=rank != 0))
    # One more file per run: a line that a kill cut in half must not swallow the line after it.
    number = len(list(folder.glob("*.jsonl")))
    path = folder / f"{number:04}-{rank:04}-{os.getpid()}.jsonl"
    # Closed at once also when an image cannot be read: the message must not meet a living progress bar.
    with path.open("x", encoding="utf-8") as journal, closing(answered), closing(progress):
        for record, (size, answer) in zip(records, progress, strict=True):
            entry = {
                "image_size": size,
                "answer": answer.text,
                "parsed": module.parsed(answer),
                "report": asdict(answer.report) if answer.report is not None else {},
                "route": {
                    "granularity": answer.route.granularity.name.lower(),
                    "source": answer.route.source,
                },
            }
            journal.write(json.dumps([record.id, entry], ensure_ascii=False) + "\n")
            journal.flush()


def answer_all(
    answerer: Answerer,
    root: Path,
    batches: Sequence[Sequence[Record]],
    *,
    batch_size: int,
    max_new_tokens: int,
) -> Generator[tuple[tuple[int, int], Answer], None, None]:
    """Yield image size and answer of each record, in order; images of the next batch load meanwhile."""

    def open_batch(batch: Sequence[Record]) -> list[tuple[Image.Image, ...]]:
        # Questions about one image stand in a row; a large scene is decoded and held once for all of them.
        names = dict.fromkeys(name for record in batch for name in record.images)
        opened = {name: open_image(resolve_image(root, name)) for name in names}
        return [tuple(opened[name] for name in record.images) for record in batch]

    with ThreadPoolExecutor(max_workers=1) as loader:
        coming = loader.submit(open_batch, batches[0])
        for number, batch in enumerate(batches):
            pictures = coming.result()
            if number + 1 < len(batches):
                coming = loader.submit(open_batch, batches[number + 1])
            requests = [
                _request(record, images, answerer.box_codec)
                for record, images in zip(batch, pictures, strict=True)
            ]
            answers = answerer.answer_batch(requests, batch_size=batch_size, max_new_tokens=max_new_tokens)
            for images, answer in zip(pictures, answers, strict=True):
                yield images[0].size, answer


def _request(record: Record, images: Sequence[Image.Image], codec: BoxCodec) -> Request:
    """The question as a user would put it.

    The task is named only where the router would read the prompt otherwise: a score must not hang on that,
    but `Prediction.route` shows where it happened. A mask question says which class it asks for.
    """
    prompt = record.turns[0].prompt
    understood = route(prompt, num_images=len(images)).task is record.task
    labels = None
    if record.task.answer_kind == "mask" and isinstance(record.targets, dict):
        labels = record.targets["labels"][1:]
    return Request(
        images=images,
        prompt=box_respelled(record, codec),
        task=None if understood else record.task,
        labels=labels,
    )


def _read_journals(folder: Path) -> dict[str, Entry]:
    """All answers written down so far; a line cut off by a kill is passed over, its question asked again."""
    found: dict[str, Entry] = {}
    for path in sorted(folder.glob("*.jsonl")):
        with path.open(encoding="utf-8", errors="replace") as journal:  # a kill may also halve a character
            for number, line in enumerate(journal, 1):
                if not line.endswith("\n"):
                    continue
                try:
                    record_id, entry = json.loads(line)
                except ValueError as error:
                    raise ValueError(
                        f"{path}:{number}: this journal of an interrupted run is damaged ({error}); remove "
                        "it to ask its questions again"
                    ) from error
                found[record_id] = entry
    return found


def _collect(folder: Path, ids: Sequence[str]) -> Mapping[str, Entry]:
    """The answers to all questions, once all processes have written theirs."""
    deadline = time.monotonic() + _FILES_APPEAR_WITHIN
    while True:
        found = _read_journals(folder)
        missing = [record_id for record_id in ids if record_id not in found]
        if not missing:
            return found
        if time.monotonic() > deadline:
            raise ValueError(
                f"{len(missing)} answers of other processes are not in {folder}; "
                "--out must be a folder that all processes share"
            )
        time.sleep(1)


def _fingerprint(shared: Mapping[str, Any], root: Path, records: Sequence[Record]) -> str:
    """Tells runs apart whose answers must not be mixed."""
    settings = [__version__, str(root.resolve()), shared]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for record in records:
        labels = record.targets.get("labels") if isinstance(record.targets, dict) else None
        digest.update(json.dumps([record.id, record.images, record.turns[0].prompt, labels]).encode())
    return digest.hexdigest()[:16]
