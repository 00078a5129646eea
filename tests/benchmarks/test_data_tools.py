"""The benchmark runs, at a thousandth of its size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks/data_tools.py"


def test_every_set_is_converted_at_both_sizes_and_the_last_line_is_json() -> None:
    command = [sys.executable, str(SCRIPT), "--scale", "0.001"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = json.loads(result.stdout.splitlines()[-1])["rows"]
    # Two records an object; six classes an image.
    assert [(row["set"], row["size"], row["records"]) for row in rows] == [
        ("rsvqa_lr", 10, 10),
        ("rsvqa_lr", 100, 100),
        ("dior_rsvg", 2, 4),
        ("dior_rsvg", 20, 40),
        ("index_masks", 1, 6),
        ("index_masks", 5, 30),
    ]
    assert all(row["peak_mib"] > 10 for row in rows)
