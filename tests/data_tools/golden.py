"""Make the golden files, or a fixture to look at.

    python tests/data_tools/golden.py rsicd rsvqa_lr      # write tests/data_tools/golden/<name>.json
    python tests/data_tools/golden.py --fixture rsicd DIR # write the fixture into DIR

A golden file holds all record files of a converted fixture and what was skipped and why. Read the difference
before you commit it: a golden file is only worth the eye that has seen it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path[0] = str(HERE)  # for `fixtures`

from fixtures import fixtures  # noqa: E402

from data_tools.conversion import convert  # noqa: E402
from data_tools.converter import Settings  # noqa: E402
from data_tools.registry import converters  # noqa: E402


def converted(name: str, folder: Path) -> dict[str, Any]:
    """Write a fixture below `folder`, convert it, and return what came out."""
    fixture = fixtures()[name]
    root, out = folder / "root", folder / "out"
    root.mkdir()
    fixture.make(root)
    settings = Settings(root, out=out, **fixture.options)
    made = convert(converters()[name], settings, out, turns=fixture.turns, max_bad=1.0)
    return {
        "report": made.report.to_json(),
        "files": {
            file: [json.loads(line) for line in (out / file).read_text(encoding="utf-8").splitlines()]
            for file in sorted(made.records)
        },
    }


def main(arguments: list[str]) -> None:
    """Run the command line."""
    if arguments[0] == "--fixture":
        fixtures()[arguments[1]].make(Path(arguments[2]))
        return
    for name in arguments:
        with tempfile.TemporaryDirectory() as folder:
            content = converted(name, Path(folder))
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        (HERE / "golden" / f"{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
