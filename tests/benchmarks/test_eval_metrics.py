"""The benchmark runs, at a thousandth of its size and without Java."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks/eval_metrics.py"


def test_every_set_is_scored_and_the_last_line_is_json() -> None:
    command = [sys.executable, str(SCRIPT), "--scale", "0.001"]
    result = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | {"PATH": ""}
    )
    last = json.loads(result.stdout.splitlines()[-1])
    rows = last["rows"]
    assert [(row["set"], row["size"]) for row in rows] == [
        ("vqa", 100),
        ("boxes", 50),
        ("captions", 10),
        ("masks", 2),
    ]
    assert last["meteor"] is False
    assert all(row["peak_mib"] > 10 for row in rows)
    assert all(row["first_metric"] > 0 for row in rows)
    assert rows[3]["scored_mpx_per_s"] >= rows[3]["encoded_and_scored_mpx_per_s"] > 0
