"""Scoring: predictions in, numbers with intervals out; the same for every task.

Used by `run_benchmark.py` right after the answers, and by `rescore.py` and `compare.py` from the predictions
file alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.metrics.intervals import ClusterBootstrap, percentile_interval
from eval.predictions import Prediction, questions_hash
from eval.tasks import Choices, TaskModule

RESAMPLES = 2000
Cell = dict[str, float | None]


def score(
    module: TaskModule,
    predictions: Sequence[Prediction],
    protocol: Choices,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Score predictions and their yardsticks.

    Args:
        module: of the task.
        predictions: at least one; all with the same yardsticks.
        protocol: value of every switch, see `eval.tasks.protocol_of`.
        resamples: bootstrap draws.
        seed: of the draws.

    Returns:
        ``metrics`` (of the answers), ``yardsticks`` (name -> metrics) and ``margins`` (answers minus
        yardstick, paired), each ``{metric: {"value", "low", "high"}}`` in fractions with 95 % intervals (None
        where undefined, or where all questions share one image); counts, protocol, details.

    Raises:
        ValueError: there is nothing to score.
    """
    rows = module.select(predictions, protocol)
    if not rows:
        raise ValueError("no predictions to score under this protocol")
    measure = module.measure(rows, protocol)
    names = list(rows[0].yardsticks)
    answers = [[row.parsed for row in rows], *([row.yardsticks[name] for row in rows] for name in names)]
    bootstrap = ClusterBootstrap([row.images for row in rows], resamples=resamples, seed=seed)
    columns = [measure.columns(given) for given in answers]
    points = [measure.finish(columns_NS.sum(axis=0, keepdims=True)) for columns_NS in columns]
    # One pass over the draws for all answers: making them costs more than using them.
    sums = np.split(bootstrap.sums(np.concatenate(columns, axis=1)), len(answers), axis=1)
    draws = [measure.finish(sums_RS) for sums_RS in sums]
    one_cluster = bootstrap.num_clusters < 2  # says nothing about the spread between images
    cells = [
        _cells(measure.names, point, None if one_cluster else draw)
        for point, draw in zip(points, draws, strict=True)
    ]
    margins = [
        _cells(measure.names, points[0] - point, None if one_cluster else draws[0] - draw)
        for point, draw in zip(points[1:], draws[1:], strict=True)
    ]
    return {
        "n": len(rows),
        "images": bootstrap.num_clusters,
        "unparsable": sum(not module.readable(row.parsed) for row in rows),
        "metrics": cells[0],
        "yardsticks": dict(zip(names, cells[1:], strict=True)),
        "margins": dict(zip(names, margins, strict=True)),
        "details": module.details(rows, protocol),
        "protocol": dict(protocol),
        "left_out_by_protocol": len(predictions) - len(rows),
        "interval": {
            "method": "percentile bootstrap over images",
            "level": 0.95,
            "resamples": resamples,
            "seed": seed,
        },
        "questions_sha256": questions_hash(predictions),
    }


def with_scores(module: TaskModule, predictions: Sequence[Prediction], protocol: Choices) -> list[Prediction]:
    """The predictions with the scores of each question filled in; those not scored have none."""
    rows = module.select(predictions, protocol)
    scores = {row.id: score for row, score in zip(rows, module.per_question(rows, protocol), strict=True)}
    return [replace(row, score=scores.get(row.id, {})) for row in predictions]


def headline(results: Mapping[str, Any]) -> dict[str, Any]:
    """The few numbers of the last line on stdout."""
    scores = {name: [cell["value"], cell["low"], cell["high"]] for name, cell in results["metrics"].items()}
    first = next(iter(scores))
    references = {name: cells[first]["value"] for name, cells in results["yardsticks"].items()}
    return {**scores, "unparsable": results["unparsable"], "yardsticks": references}


def _cells(
    names: Sequence[str], point_1K: NDArray[np.float64], draws_RK: NDArray[np.float64] | None
) -> dict[str, Cell]:
    low_K = high_K = np.full(len(names), np.nan)
    if draws_RK is not None:
        low_K, high_K = percentile_interval(draws_RK)
    numbers = (point_1K[0].tolist(), low_K.tolist(), high_K.tolist())
    return {
        name: {
            key: None if np.isnan(number) else number
            for key, number in zip(("value", "low", "high"), row, strict=True)
        }
        for name, row in zip(names, zip(*numbers, strict=True), strict=True)
    }
