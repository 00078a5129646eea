"""Score the answers of a run again, without its model: other protocol, same predictions.

    python eval/rescore.py results/vg_mini --protocol paper
    python eval/rescore.py results/vqa_rsvqa_lr/predictions.jsonl --match lhrs --out results/lhrs

Everything comes from `predictions.jsonl`; torch is not even imported. Under the protocol of the run the
results are those of the run, byte for byte. The output folder (by default ``rescored`` beside the
predictions) gets the same files as a run's. Pictures need the images: they are looked for where the run found
them, or in ``--data``; without them the report has no pictures. The last line on stdout is one JSON object.
Bad input ends with exit code 2 and one line that begins with ``error:``.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # as in run_benchmark.py

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console

from eval import benchmarks
from eval.options import Parser, add_protocol_options, given_protocol, run_command
from eval.predictions import questions_hash
from eval.publishing import publish
from eval.registry import BENCHMARKS
from eval.report import print_results
from eval.runs import Run, read_run, results_of
from eval.scoring import headline, with_scores
from eval.tasks import TASK_MODULES

_SHORTEST_HASH = 8


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = Parser(prog="rescore.py", description="Score the answers of a run again, without its model.")
    add = parser.add_argument
    add("predictions", type=Path, help="predictions.jsonl, or the folder of a run")
    add("--out", type=Path, help="output folder (default: rescored, beside the predictions)")
    add("--data", type=Path, help="folder that the image paths are relative to (default: as in the run)")
    add("--benchmark", help="refuse predictions whose questions are not of this benchmark (in --data)")
    add("--expect-hash", help="refuse predictions whose questions have another SHA-256 (or its beginning)")
    add_protocol_options(parser, *TASK_MODULES)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 on success, 2 with one line on stderr when the input is bad."""
    return run_command(build_parser(), argv, rescore)


def rescore(args: argparse.Namespace) -> dict[str, Any]:
    """Do as the arguments say; return the content of the last line.

    Raises:
        ValueError: bad input; the message names file and line, or the option.
    """
    run = read_run(args.predictions)
    protocol = given_protocol(args, run.module)
    if args.expect_hash is not None:
        _check_hash(run, args.expect_hash)
    if args.benchmark is not None:
        _check_benchmark(run, args.benchmark, args.data)
    background = run.background
    if args.data is not None:
        if not args.data.is_dir():
            raise ValueError(f"no such data folder: {args.data}")
        background = replace(background, image_root=args.data)
    out = args.out or run.path.parent / "rescored"
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; name a folder")

    predictions = with_scores(run.module, run.predictions, protocol)
    results = results_of(run.module, predictions, protocol, background)
    root = background.image_root
    publish(out, run.module, predictions, results, root if root is not None and root.is_dir() else None)
    console = Console(width=None if sys.stdout.isatty() else 100)  # a pipe has no width of its own
    print_results(console, results, out)
    return {
        "task": results["task"],
        "benchmark": results["benchmark"],
        "split": results["split"],
        "n": results["n"],
        **headline(results),
        "protocol": protocol["name"],
        "model": results["model"]["id"],
        "out": str(out),
    }


def _check_hash(run: Run, expected: str) -> None:
    found = questions_hash(run.predictions)
    if len(expected) < _SHORTEST_HASH:
        raise ValueError(f"--expect-hash needs at least {_SHORTEST_HASH} digits, got {expected!r}")
    if not found.startswith(expected.lower()):
        raise ValueError(
            f"{run.path} holds answers to other questions: their SHA-256 is {found}, not {expected}"
        )


def _check_benchmark(run: Run, name: str, data: Path | None) -> None:
    """Compare the questions with those of the benchmark, where its data are at hand."""
    first = run.predictions[0]
    row = BENCHMARKS.get(name)
    if row is None:
        raise ValueError(f"unknown benchmark {name!r}; known: {', '.join(BENCHMARKS)}")
    if first.benchmark != name:
        raise ValueError(f"{run.path} holds answers to benchmark {first.benchmark}, not {name}")
    if data is None and row.default_data is None:
        return
    questions = benchmarks.load(name, run.task, run.module, data, first.split)
    known = {record.id: record for record in questions.records}
    for number, answered in enumerate(run.predictions, 1):
        record = known.get(answered.id)
        same = record is not None and questions_hash([answered]) == questions_hash(
            [
                replace(
                    answered,
                    images=record.images,
                    prompt=record.turns[0].prompt,
                    truth=run.module.truth(record, questions.root),
                )
            ]
        )
        if not same:
            raise ValueError(
                f"{run.path}:{number}: {answered.id!r} is not a question of {name} as it lies in "
                f"{questions.root}: another version of the benchmark?"
            )


if __name__ == "__main__":
    sys.exit(main())
