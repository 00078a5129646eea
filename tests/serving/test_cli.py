"""Options of `rsunivlm serve`: mistakes end with one line before a model is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rsunivlm.cli import main


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["nowhere", "--port", "0"], "no checkpoint folder nowhere"),
        (["--queue", "0"], "queue must be above 0"),
        (["--max-seconds", "-1"], "max_seconds must be above 0"),
        (["--max-memory-mb", "10"], "must hold one largest request"),
        (["--api-key-file", "nowhere"], "cannot read the API key from nowhere"),
        (["--api-key-file", "EMPTY"], "is empty"),
        (["--port", "99999"], "cannot listen on 127.0.0.1 port 99999"),
    ],
)
def test_mistakes(options: list[str], words: str, tmp_path: Path, capsys) -> None:
    (tmp_path / "empty").touch()
    options = [str(tmp_path / "empty") if option == "EMPTY" else option for option in options]
    assert main(["serve", *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert words in error


def test_the_missing_extra_is_named() -> None:
    code = (
        "import sys\n"
        "sys.modules['uvicorn'] = None\n"
        "from rsunivlm.cli import main\n"
        "sys.exit(main(['serve']))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr == "error: the server needs more packages: pip install 'rsunivlm[serve]'\n"
