"""Scores for a card: read from `results.json` files of `eval/run_benchmark.py`, and only if they are its own.

A result names the weights that were measured by their checksum. Those of another checkpoint, or without a
checksum, are refused: a card never shows scores of other weights than those beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rsunivlm.card.facts import Facts
from rsunivlm.models.checkpoints.files import read_json
from rsunivlm.models.stored_weights import stored_checksum
from rsunivlm.tasks import Task, parse_task

# A run may have loaded the weights in any of these.
_LOADED_AS = (torch.float32, torch.bfloat16, torch.float16)
# Endings of yardsticks that say what could be reached, not what is to be beaten (`eval/report.py`).
_BOUNDS = ("_ceiling", "_reference")


@dataclass(frozen=True)
class Score:
    """One metric of one task on one benchmark; values as shares with their interval.

    Attributes:
        task: Task.
        benchmark: Benchmark and split.
        n: Questions asked.
        unparsable: Answers that could not be read.
        metric: Name of the metric.
        value: Value; None where the metric has none for these answers.
        interval: Lower and upper end; None without interval.
        baseline: Name and value of the best baseline; None where none was measured.
        conditions: Protocol and decoder.
    """

    task: Task
    benchmark: str
    n: int
    unparsable: int
    metric: str
    value: float | None
    interval: tuple[float, float] | None
    baseline: tuple[str, float] | None
    conditions: str


def read_scores(files: Sequence[Path], facts: Facts) -> list[Score]:
    """Scores of result files, in their order.

    Raises:
        ValueError: A file is no result, or measured other weights.
    """
    if not files:
        return []
    own = {stored_checksum(facts.config, facts.weights, dtype) for dtype in _LOADED_AS}
    scores: list[Score] = []
    for file in files:
        results = read_json(file)
        try:
            measured = results["model"].get("weights")
            if measured not in own:
                raise ValueError(
                    f"{file} was measured on other weights ({measured}) than those in {facts.folder} "
                    f"({', '.join(sorted(own))})"
                )
            scores += _scores(results)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{file} is no results.json of eval/run_benchmark.py: {error!r}") from error
    return scores


def _scores(results: Mapping[str, Any]) -> list[Score]:
    protocol, decoder = results["protocol"], results["decoder"]
    conditions = f"protocol {protocol['name']}, {decoder['strategy']} decoding"
    if results["model"].get("constrained"):
        conditions += ", answers held to grammars"
    return [
        Score(
            task=parse_task(results["task"]),
            benchmark=f"{results['benchmark']} ({results['split']})",
            n=results["n"],
            unparsable=results["unparsable"],
            metric=metric,
            value=cell["value"],
            interval=None if cell["low"] is None or cell["high"] is None else (cell["low"], cell["high"]),
            baseline=_best_baseline(results["yardsticks"], metric),
            conditions=conditions,
        )
        for metric, cell in results["metrics"].items()
    ]


def _best_baseline(yardsticks: Mapping[str, Any], metric: str) -> tuple[str, float] | None:
    values = [
        (name, cells[metric]["value"])
        for name, cells in yardsticks.items()
        if not name.endswith(_BOUNDS) and cells[metric]["value"] is not None
    ]
    return max(values, key=lambda item: item[1]) if values else None
