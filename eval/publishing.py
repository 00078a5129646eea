"""Writing the files of a run: all of them, or none.

Everything is written under other names first and then renamed; `results.json` comes last. It holds the hash
of the predictions, so a reader can tell files of one run from a mixture of two.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from eval.html_report import Sample, TaskReport, overview_page, task_page, task_report
from eval.predictions import Prediction, write_predictions
from eval.preview import draw_grid, draw_sample
from eval.runs import PREDICTIONS, RESULTS, sha256_of
from eval.tasks import TaskModule

PREVIEW, REPORT = "preview.png", "report.html"


def publish(
    out: Path,
    module: TaskModule,
    predictions: Sequence[Prediction],
    results: Mapping[str, Any],
    root: Path | None,
) -> TaskReport:
    """Write predictions, results, report and picture of one task into `out`.

    Args:
        out: the folder.
        module: of the task.
        predictions: with the scores of each question.
        results: see `eval.runs.results_of`.
        root: folder of the images; None where they are not there: no picture then, and none in the report.

    Returns:
        What the report says, for a report over several tasks.

    Raises:
        ValueError: an image that is to be shown cannot be read; nothing has been written.
    """
    tiles = module.tiles(predictions, root, seed=results["interval"]["seed"]) if root is not None else []
    samples = [Sample(draw_sample(tile), tile.heading, tile.caption) for tile in tiles]
    title = f"{results['task']} on {results['benchmark']} ({results['split']}), {results['n']} questions"
    picture = draw_grid(tiles, title) if tiles else None
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=out) as folder:
        stage = Path(folder)
        write_predictions(stage / PREDICTIONS, predictions)
        results = {**results, "predictions_sha256": sha256_of(stage / PREDICTIONS)}
        report = task_report(results, (row.prompt for row in predictions), samples)
        (stage / REPORT).write_text(task_page(report), encoding="utf-8")
        if picture is not None:
            picture.save(stage / PREVIEW)
        (stage / RESULTS).write_text(
            json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        for name in (PREDICTIONS, PREVIEW, REPORT, RESULTS):
            if (stage / name).exists():
                os.replace(stage / name, out / name)
            else:
                (out / name).unlink(missing_ok=True)  # a picture of earlier answers
    return report


def publish_overview(out: Path, reports: Sequence[TaskReport]) -> None:
    """Write the report over several tasks into `out`."""
    write_whole(out / REPORT, lambda path: path.write_text(overview_page(reports), encoding="utf-8"))


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under another name and rename it, so that there is never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=path.parent) as folder:
        write(Path(folder) / path.name)
        os.replace(Path(folder) / path.name, path)
