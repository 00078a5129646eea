"""The predictions file: one JSON line per question, everything a score needs and nothing that needs a model.

A line keeps the raw answer beside what was read from it, the truth, and the answers of the yardsticks (the
codec's ceiling and the baselines) to the same question. `parsed`, `truth` and every yardstick have the same
task-specific form (for grounding ``{"boxes_px": [[x1, y1, x2, y2], ...]}``, pixels of the original image),
so that one scorer serves them all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Prediction:
    """One question with its answer.

    Attributes:
        id: The record's id, unique in the benchmark.
        benchmark: Name of the benchmark.
        split: Its split.
        task: Task name, e.g. ``"vg"``.
        images: Image paths relative to the benchmark's image root; also the cluster of the intervals.
        image_size: Width and height of the (first) image in pixels.
        prompt: The question, with its task token; a box in it stands on the scale 0..100.
        answer: The model's text, untouched.
        parsed: What the codec read from the answer.
        truth: The ground truth in the same form.
        yardsticks: Answers that need no model, by name, in the same form.
        report: What the parser had to repair or drop.
        route: Granularity and the step of the router that chose it.
        decoder: Decoding settings.
        model: Model id and hash of its configuration.
        score: Per-question scores, for reading by eye; never an input of a score.
    """

    id: str
    benchmark: str
    split: str
    task: str
    images: tuple[str, ...]
    image_size: tuple[int, int]
    prompt: str
    answer: str
    parsed: Mapping[str, Any]
    truth: Mapping[str, Any]
    yardsticks: Mapping[str, Mapping[str, Any]]
    report: Mapping[str, Any]
    route: Mapping[str, Any]
    decoder: Mapping[str, Any]
    model: Mapping[str, Any]
    score: Mapping[str, float] = field(default_factory=dict)


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> None:
    """Write predictions as JSON lines; floats keep every digit, so reading gives back the same."""
    with path.open("w", encoding="utf-8") as file:
        for prediction in predictions:
            file.write(json.dumps(asdict(prediction), ensure_ascii=False) + "\n")


def read_predictions(path: Path) -> list[Prediction]:
    """Read a predictions file.

    Raises:
        ValueError: A line is no prediction; the message names file, line and what is missing.
    """
    known = {entry.name for entry in fields(Prediction)}
    predictions = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}:{number}: not JSON ({error}); was the file cut off?") from error
            if not isinstance(row, dict) or set(row) != known:
                found = set(row) if isinstance(row, dict) else set()
                raise ValueError(
                    f"{path}:{number}: not a prediction of this version: missing {sorted(known - found)}, "
                    f"unknown {sorted(found - known)}"
                )
            row["images"], row["image_size"] = tuple(row["images"]), tuple(row["image_size"])
            predictions.append(Prediction(**row))
    return predictions


def questions_hash(predictions: Sequence[Prediction]) -> str:
    """SHA-256 over ids, images, prompts and truths: equal for two runs of the same questions."""
    digest = hashlib.sha256()
    for row in predictions:
        line = json.dumps([row.id, row.images, row.image_size, row.prompt, row.truth], sort_keys=True)
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()
