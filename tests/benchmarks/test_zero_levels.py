"""The benchmark runs, small, and counts what ZeRO 2 must send."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks/zero_levels.py"


@pytest.mark.distributed
@pytest.mark.skipif("RSUNIVLM_TEST_ALL_ZERO" not in os.environ, reason="set RSUNIVLM_TEST_ALL_ZERO")
def test_two_passes_send_two_gradients_and_the_weights() -> None:
    size = ["--hidden", "64", "--layers", "2", "--steps", "5"]
    command = [sys.executable, str(SCRIPT), *size, "--accumulation", "2", "--levels", "2"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = json.loads(result.stdout.splitlines()[-1])["rows"]
    assert [(row["stage"], row["zero"]) for row in rows] == [(1, 2), (2, 2)]
    for row in rows:
        assert row["megabytes"] == pytest.approx(3 * 4 * row["trained"] / 1e6, rel=0.03)
        assert row["peak_mb"] > 100
