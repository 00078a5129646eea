"""Asking a predictor the questions of a benchmark, in batches, and keeping every answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from eval.benchmarks import Questions
from eval.predictions import Prediction
from eval.tasks import TaskModule
from rsunivlm.data.records import Record, resolve_image
from rsunivlm.images import open_image
from rsunivlm.inference.answer import Answer, Request
from rsunivlm.tasks import route

if TYPE_CHECKING:  # importing it costs torch
    from rsunivlm import RSUniVLM


def predict(
    predictor: RSUniVLM,
    questions: Questions,
    module: TaskModule,
    *,
    model_id: str,
    batch_size: int = 16,
    limit: int | None = None,
    seed: int = 0,
) -> tuple[list[Prediction], dict[str, str]]:
    """Answer all questions, or `limit` of them drawn with `seed`.

    Args:
        predictor: A loaded checkpoint.
        questions: Checked questions, see `eval.benchmarks.load`.
        module: The module of their task.
        model_id: How the results name the model.
        batch_size: Questions answered at once.
        limit: Ask only this many.
        seed: Draws them.

    Returns:
        Predictions in the order of the benchmark, and the definitions of their yardsticks (which are fitted
        on all questions, so that a limited run has the same ones).

    Raises:
        ValueError: An image cannot be read or has another size than its record says; the message names it.
    """
    yardsticks = module.yardsticks(questions, predictor)
    chosen = list(range(len(questions.records)))
    if limit is not None and limit < len(chosen):
        chosen = sorted(np.random.default_rng(seed).choice(len(chosen), limit, replace=False).tolist())
    records = [questions.records[index] for index in chosen]
    shared: dict[str, Any] = {
        "benchmark": questions.benchmark,
        "split": questions.split,
        "task": questions.task.value,
        "decoder": {"strategy": "greedy", "max_new_tokens": module.MAX_NEW_TOKENS},
        "model": {"id": model_id, "config_sha256": config_hash(predictor.model.config)},
    }
    answered = answer_all(predictor, questions.root, records, batch_size, module.MAX_NEW_TOKENS)
    progress = track(answered, "asking", total=len(records), console=Console(stderr=True))
    predictions = []
    for index, record, (size, answer) in zip(chosen, records, progress, strict=True):
        predictions.append(
            Prediction(
                id=record.id,
                images=record.images,
                image_size=size,
                prompt=record.turns[0].prompt,
                answer=answer.text,
                parsed=module.parsed(answer),
                truth=module.truth(record),
                yardsticks={name: column[index] for name, column in yardsticks.answers.items()},
                report=asdict(answer.report) if answer.report is not None else {},
                route={"granularity": answer.route.granularity.name.lower(), "source": answer.route.source},
                **shared,
            )
        )
    return predictions, dict(yardsticks.definitions)


def answer_all(
    predictor: RSUniVLM, root: Path, records: Sequence[Record], batch_size: int, max_new_tokens: int
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
            answers = predictor.answer_batch(requests, batch_size=batch_size, max_new_tokens=max_new_tokens)
            for images, answer in zip(pictures, answers, strict=True):
                yield images[0].size, answer


def _request(record: Record, images: Sequence[Image.Image]) -> Request:
    """The question as a user would put it.

    The task is named only where the router would read the prompt otherwise: a score must not hang on that,
    but `Prediction.route` shows where it happened.
    """
    prompt = record.turns[0].prompt
    understood = route(prompt, num_images=len(images)).task is record.task
    return Request(images=images, prompt=prompt, task=None if understood else record.task)


def _open_images(root: Path, record: Record) -> tuple[Image.Image, ...]:
    images = tuple(open_image(resolve_image(root, image)) for image in record.images)
    declared = record.targets.get("image_size") if isinstance(record.targets, dict) else None
    if declared is not None and tuple(declared) != images[0].size:
        # Boxes of another scale would be scored as wrong, silently.
        raise ValueError(
            f"record {record.id}: image {record.images[0]} is {list(images[0].size)} pixels, but its targets "
            f"are given for {list(declared)}"
        )
    return images


def config_hash(config: Any) -> str:
    """SHA-256 over what the checkpoint's configuration says, wherever the checkpoint lies."""
    content = {
        name: value
        for name, value in config.to_dict().items()
        if name not in ("_name_or_path", "transformers_version", "dtype")
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
