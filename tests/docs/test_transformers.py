"""The Python lines of docs/transformers.md run as they stand, on the bundled checkpoint."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


def test_the_lines_of_the_page_run(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "playground").symlink_to(ROOT / "playground")
    Image.effect_noise((160, 160), 80).save(tmp_path / "scene.png")
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "transformers.md").read_text(encoding="utf-8")
    names: dict[str, object] = {}
    programs = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(programs) == 2
    for program in programs:
        exec(program.replace("512", "16"), names)
