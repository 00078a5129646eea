"""Asking a model the questions of a benchmark: in batches, in several processes, and across a kill.

Every answer is written down as soon as it is there, in the *journal* of its process. A run that starts again
with the same questions, model and decoding reads all journals first and asks only what is missing; several
processes each take their share of what is missing. The predictions are made from the journals at the end, in
the order of the benchmark, so they do not depend on the number of processes, on the batch size or on where a
run was killed.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from eval.benchmarks import Questions
from eval.predictions import Prediction
from eval.tasks import Answerer, TaskModule, Yardsticks
from rsunivlm.data.records import Record, resolve_image
from rsunivlm.images import open_image
from rsunivlm.inference.answer import Answer, Request
from rsunivlm.tasks import route

Entry = dict[str, Any]  # one line of a journal


@dataclass(frozen=True)
class Processes:
    """This process among those that torchrun started."""

    rank: int = 0
    world_size: int = 1

    @classmethod
    def from_environment(cls) -> Processes:
        """As the launcher says; one process without a launcher."""
        return cls(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))


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
    processes: Processes = Processes(),
) -> tuple[list[Prediction], Yardsticks] | None:
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
        Predictions in the order of the benchmark, and their yardsticks (fitted on all questions, so that a
        limited run has the same ones). None in all processes but the first.

    Raises:
        ValueError: An image cannot be decoded; the message names it. What was answered so far is kept.
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
    folder = journals / _fingerprint(shared, records)
    done = set(_read_journals(folder))
    missing = [record for record in records if record.id not in done]
    mine = missing[processes.rank :: processes.world_size]
    if mine:
        _ask(answerer, questions.root, module, mine, folder, processes.rank, batch_size, room)
    if processes.rank != 0:
        return None
    answers = _wait_for(folder, [record.id for record in records])
    yardsticks = module.yardsticks(questions, answerer)
    predictions = [
        Prediction(
            id=record.id,
            images=record.images,
            prompt=record.turns[0].prompt,
            truth=module.truth(record, questions.root),
            yardsticks={name: column[index] for name, column in yardsticks.answers.items()},
            **(answers[record.id] | {"image_size": tuple(answers[record.id]["image_size"])}),
            **shared,
        )
        for index, record in zip(chosen, records, strict=True)
    ]
    return predictions, yardsticks


def _ask(
    answerer: Answerer,
    root: Path,
    module: TaskModule,
    records: Sequence[Record],
    folder: Path,
    rank: int,
    batch_size: int,
    room: int,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    answered = answer_all(answerer, root, records, batch_size, room)
    progress = track(answered, "asking", total=len(records), console=Console(stderr=True, quiet=rank != 0))
    # One more file per run: a line that a kill cut in half must not swallow the line after it.
    number = len(list(folder.glob("*.jsonl")))
    with (folder / f"{number:04}-{rank:04}-{os.getpid()}.jsonl").open("w", encoding="utf-8") as journal:
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
    answerer: Answerer, root: Path, records: Sequence[Record], batch_size: int, max_new_tokens: int
) -> Iterator[tuple[tuple[int, int], Answer]]:
    """Yield image size and answer of each record, in order; images of the next batch load meanwhile."""
    batches = [records[start : start + batch_size] for start in range(0, len(records), batch_size)]

    def open_batch(batch: Sequence[Record]) -> list[tuple[Image.Image, ...]]:
        return [_open_images(root, record) for record in batch]

    with ThreadPoolExecutor(max_workers=1) as loader:
        coming = loader.submit(open_batch, batches[0])
        for number, batch in enumerate(batches):
            pictures = coming.result()
            if number + 1 < len(batches):
                coming = loader.submit(open_batch, batches[number + 1])
            requests = [_request(record, images) for record, images in zip(batch, pictures, strict=True)]
            answers = answerer.answer_batch(requests, batch_size=batch_size, max_new_tokens=max_new_tokens)
            for images, answer in zip(pictures, answers, strict=True):
                yield images[0].size, answer


def _request(record: Record, images: Sequence[Image.Image]) -> Request:
    """The question as a user would put it.

    The task is named only where the router would read the prompt otherwise: a score must not hang on that,
    but `Prediction.route` shows where it happened. A mask question says which class it asks for.
    """
    prompt = record.turns[0].prompt
    understood = route(prompt, num_images=len(images)).task is record.task
    labels = None
    if record.task.answer_kind == "mask" and isinstance(record.targets, dict):
        labels = record.targets["labels"][1:]
    return Request(images=images, prompt=prompt, task=None if understood else record.task, labels=labels)


def _open_images(root: Path, record: Record) -> tuple[Image.Image, ...]:
    return tuple(open_image(resolve_image(root, image)) for image in record.images)


def _read_journals(folder: Path) -> dict[str, Entry]:
    """All answers written down so far; a line cut off by a kill is passed over, its question asked again."""
    found: dict[str, Entry] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
            if line.endswith("\n"):
                record_id, entry = json.loads(line)
                found[record_id] = entry
    return found


def _wait_for(folder: Path, ids: Sequence[str]) -> Mapping[str, Entry]:
    """The answers to all questions, once the other processes have written theirs.

    Should one of them fail, its launcher ends this process too.
    """
    while True:
        found = _read_journals(folder)
        if all(record_id in found for record_id in ids):
            return found
        time.sleep(0.5)


def _fingerprint(shared: Mapping[str, Any], records: Sequence[Record]) -> str:
    """Tells runs apart whose answers must not be mixed."""
    digest = hashlib.sha256(json.dumps(shared, sort_keys=True, default=str).encode())
    for record in records:
        digest.update(json.dumps([record.id, record.images, record.turns[0].prompt]).encode())
    return digest.hexdigest()[:16]
