"""The benchmark runs on the bundled set and on a COCO file; finer options have higher ceilings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from PIL import Image

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks/mask_fidelity.py"


def run(*options: str) -> list[dict]:
    command = [sys.executable, str(SCRIPT), *options]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(result.stdout.splitlines()[-1])["rows"]


def test_finer_options_have_higher_ceilings(tmp_path: Path) -> None:
    Image.new("RGB", (300, 200)).save(tmp_path / "one.png")
    outline = [100, 50, 118, 50, 118, 77, 100, 77]
    annotations = {
        "images": [{"id": 1, "file_name": "one.png", "width": 300, "height": 200}],
        "annotations": [{"image_id": 1, "segmentation": [outline]}, {"image_id": 1, "segmentation": {}}],
    }
    (tmp_path / "objects.json").write_text(json.dumps(annotations))
    rows = run("--set", f"coco={tmp_path / 'objects.json'}", "--set", "mini=", "--limit", "4")
    assert [row["n"] for row in rows if row["option"] == "plain"] == [1, 4]
    for name in ("coco", "mini"):
        by_option = {row["option"]: row for row in rows if row["set"] == name}
        iou = {option: row["iou"] for option, row in by_option.items()}
        assert iou["plain"] < iou["2 x 2"] < 100
        assert iou["plain"] < iou["soft"]
        assert iou["plain"] < iou["zoom on the mask"]
        assert all(row["tokens"]["nano"] > 48 for row in by_option.values())
        assert by_option["2 x 2"]["tokens"]["nano"] > 2 * by_option["plain"]["tokens"]["nano"]


def test_a_set_without_masks_is_refused() -> None:
    result = subprocess.run([sys.executable, str(SCRIPT), "--set", "aid=x"], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.startswith("error: --set aid: not a benchmark with masks")
