"""Writing the files of a run: all of them, or none.

Everything is written under other names first and then renamed; `results.json` comes last. It holds the hash
of the predictions, so a reader can tell files of one run from a mixture of two.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eval.predictions import Prediction, write_predictions
from eval.preview import draw_grid
from eval.tasks import TaskModule


def publish(
    out: Path, module: TaskModule, predictions: Sequence[Prediction], results: dict[str, Any], root: Path
) -> None:
    """Write predictions, results and picture of one task into `out`."""
    title = f"{results['task']} on {results['benchmark']} ({results['split']}), {results['n']} questions"
    picture = draw_grid(module.tiles(predictions, root, seed=results["interval"]["seed"]), title)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=out) as folder:
        stage = Path(folder)
        write_predictions(stage / "predictions.jsonl", predictions)
        picture.save(stage / "preview.png")
        digest = hashlib.sha256((stage / "predictions.jsonl").read_bytes()).hexdigest()
        text = json.dumps(results | {"predictions_sha256": digest}, indent=2, ensure_ascii=False) + "\n"
        (stage / "results.json").write_text(text, encoding="utf-8")
        for name in ("predictions.jsonl", "preview.png", "results.json"):
            os.replace(stage / name, out / name)
