"""A run on disk: its predictions, and what its results know beyond them.

`predictions.jsonl` alone is enough to score a run again. What it cannot hold (what the yardsticks are, notes
on the benchmark, where the images lie) is taken from the `results.json` beside it, if that was written for
these very predictions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.predictions import Prediction, read_predictions
from eval.scoring import score
from eval.tasks import Choices, TaskModule, task_module
from rsunivlm.tasks import Task

PREDICTIONS, RESULTS = "predictions.jsonl", "results.json"
_KEY_OF_ANSWER = {"text": "text", "boxes": "boxes_px", "mask": "mask"}


@dataclass(frozen=True)
class Background:
    """What results say that does not follow from the predictions.

    Attributes:
        definitions: what each yardstick is.
        notes: what a reader of the scores must know.
        available: how many questions the benchmark has; None where that is not known.
        seed: of the draw of questions, of intervals and pictures.
        image_root: folder that the image paths are relative to; None where that is not known.
    """

    definitions: Mapping[str, str]
    notes: Sequence[str]
    available: int | None
    seed: int
    image_root: Path | None


UNKNOWN = Background(
    {}, ("scored from the predictions file alone; notes on the run are lost",), None, 0, None
)


@dataclass(frozen=True)
class Run:
    """Predictions of one task, checked."""

    path: Path
    task: Task
    module: TaskModule
    predictions: Sequence[Prediction]
    background: Background


def read_run(path: Path) -> Run:
    """Read a predictions file, or the folder of a run.

    Raises:
        ValueError: the file is missing, empty or damaged, holds several tasks or benchmarks, or the results
            beside it are of other predictions.
    """
    file = path / PREDICTIONS if path.is_dir() else path
    if not file.is_file():
        raise ValueError(f"no such predictions file: {file}")
    rows = read_predictions(file)
    if not rows:
        raise ValueError(f"{file} is empty: it holds no prediction")
    first = rows[0]
    if first.task not in list(Task):
        raise ValueError(f"{file}: unknown task {first.task!r}")
    key = _KEY_OF_ANSWER[Task(first.task).answer_kind]
    for number, row in enumerate(rows, 1):
        for name in ("task", "benchmark", "split"):
            if getattr(row, name) != getattr(first, name):
                raise ValueError(
                    f"{file}:{number}: {name} {getattr(row, name)!r}, but the lines above are of "
                    f"{getattr(first, name)!r}; score them apart"
                )
        if list(row.yardsticks) != list(first.yardsticks):
            raise ValueError(f"{file}:{number}: other yardsticks than in the lines above")
        if not all(key in answer for answer in (row.parsed, *row.yardsticks.values())):
            raise ValueError(f"{file}:{number}: an answer to task {row.task} needs {key!r}")
    if len({row.id for row in rows}) < len(rows):
        raise ValueError(f"{file} answers a question twice; are two runs in it?")
    task, module = task_module(first.task)
    return Run(file, task, module, rows, _background(file))


def results_of(
    module: TaskModule, predictions: Sequence[Prediction], protocol: Choices, background: Background
) -> dict[str, Any]:
    """The content of `results.json`: scores, and what is needed to believe them.

    Raises:
        ValueError: there is nothing to score.
    """
    first = predictions[0]
    root = background.image_root
    return {
        "task": first.task,
        "benchmark": first.benchmark,
        "split": first.split,
        **score(module, predictions, protocol, seed=background.seed),
        "definitions": dict(background.definitions),
        "limit": {"asked": len(predictions), "of": background.available, "seed": background.seed},
        "notes": list(background.notes),
        "model": dict(first.model),
        "decoder": dict(first.decoder),
        "image_root": None if root is None else str(root.resolve()),
    }


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _background(file: Path) -> Background:
    results_file = file.parent / RESULTS
    if file.name != PREDICTIONS or not results_file.is_file():
        return UNKNOWN
    try:
        results = json.loads(results_file.read_text(encoding="utf-8"))
        written_for, limit = results["predictions_sha256"], results["limit"]
        root = results["image_root"]
        background = Background(
            results["definitions"],
            results["notes"],
            limit["of"],
            limit["seed"],
            None if root is None else Path(root),
        )
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{results_file} is no result of this version ({error!r}); move it away to score the "
            "predictions alone"
        ) from error
    if written_for != sha256_of(file):
        raise ValueError(
            f"{results_file} was written for other predictions than {file}: one of them was changed or cut "
            "off; move it away to score the predictions alone"
        )
    return background
