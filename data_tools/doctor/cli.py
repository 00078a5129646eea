"""``python -m data_tools doctor``: check converted datasets, each by itself and against each other."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console

from data_tools.doctor.examination import examine
from data_tools.doctor.report import print_report, to_json, to_page
from data_tools.files import write_whole


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the sub-command ``doctor``."""
    parser = subparsers.add_parser(
        "doctor",
        help="check converted datasets: records, images, boxes, masks, leaks",
        description="Exit code 0: sound, 1: errors found, 2: bad usage.",
    )
    add = parser.add_argument
    add(
        "out", nargs="+", type=Path, help="folders that `convert` wrote; several are compared with each other"
    )
    add("--deep", action="store_true", help="decode every image and mask in full, compare masks with texts")
    add("--workers", type=int, default=1, help="processes; the findings do not depend on it")
    add("--html", type=Path, help="also write the report as a page that stands alone")
    add("--json", type=Path, help="also write the report as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Examine the folders, print the report and return the exit code.

    Raises:
        ValueError: a folder was not written by `convert`, or the options make no sense.
    """
    if options.workers < 1:
        raise ValueError("--workers must be at least 1")
    exam = examine(options.out, deep=options.deep, workers=options.workers)
    print_report(exam, Console())
    if options.html is not None:
        write_whole(options.html, to_page(exam))
    if options.json is not None:
        write_whole(options.json, json.dumps(to_json(exam), indent=1, ensure_ascii=False) + "\n")
    return 0 if exam.findings.sound else 1
