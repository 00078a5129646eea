"""The road to pycocoevalcap, the caption scorers everyone compares with, and to its two Java programs.

The package belongs to the ``eval`` extra and Java to the user's system, so both are looked for only when a
score asks for them. A missing package is an error that says how to get it. Missing Java is a fact that the
results state: METEOR is then absent, never zero.
"""

from __future__ import annotations

import importlib
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

NO_JAVA = "no Java runtime on this machine (install one, e.g. openjdk-17-jre-headless)"


def scorer(module: str) -> Any:
    """Import a module of pycocoevalcap, e.g. ``"rouge.rouge"``.

    Raises:
        ValueError: the package is not installed.
    """
    try:
        return importlib.import_module(f"pycocoevalcap.{module}")
    except ModuleNotFoundError as error:
        raise ValueError("caption scores need pycocoevalcap: pip install 'rsunivlm[eval]'") from error


@cache
def java() -> str | None:
    """Path of a Java that runs, or None; on some systems ``java`` only asks for an installation."""
    path = shutil.which("java")
    if path and subprocess.run([path, "-version"], capture_output=True, check=False).returncode == 0:
        return path
    return None


def run_java(arguments: Sequence[str], lines: Sequence[str], folder: Path) -> list[str]:
    """Feed lines to a Java program that answers each with one line.

    Args:
        arguments: of ``java``.
        lines: without line breaks.
        folder: where it runs; its jars look for their data beside themselves.

    Raises:
        ValueError: there is no Java, or the program failed.
    """
    path = java()
    if path is None:
        raise ValueError(NO_JAVA)
    text = "".join(f"{line}\n" for line in lines)
    done = subprocess.run(
        [path, *arguments], input=text, cwd=folder, capture_output=True, encoding="utf-8", check=False
    )
    answers = done.stdout.splitlines()
    if done.returncode != 0 or len(answers) != len(lines):
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise ValueError(
            f"java {' '.join(arguments)} ended with code {done.returncode} after {len(answers)} of "
            f"{len(lines)} lines: {last}"
        )
    return answers
