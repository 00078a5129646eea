"""Compare two runs on the same questions: difference, 95 % interval and p value of each metric.

    python eval/compare.py results/a results/b
    python eval/compare.py a/predictions.jsonl b/predictions.jsonl --protocol paper --metric acc@0.5

Both runs are scored under one protocol from their predictions alone. The comparison is paired: intervals
come from the same draws of images for both, p from swapping the two runs' answers image by image
(`eval.metrics.permutation`). Runs that answered other questions are refused. A p value speaks of its metric
alone; who looks at many should correct for it. The last line on stdout is one JSON object. Bad input ends
with exit code 2 and one line that begins with ``error:``.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # as in run_benchmark.py

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console

from eval.metrics.intervals import ClusterBootstrap, percentile_interval
from eval.metrics.permutation import swap_test
from eval.options import Parser, add_protocol_options, given_protocol, run_command
from eval.predictions import Prediction, questions_hash
from eval.publishing import write_whole
from eval.report import format_cell, format_value, print_facts, print_titled, table, words
from eval.runs import Run, read_run, sha256_of
from eval.scoring import RESAMPLES
from eval.tasks import TASK_MODULES, Choices

PERMUTATIONS = 10_000
_SAME = ("images", "image_size", "prompt", "truth")  # what makes two questions of one id the same


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = Parser(prog="compare.py", description="Compare two runs on the same questions.")
    add = parser.add_argument
    add("first", type=Path, help="folder of a run, or its predictions.jsonl")
    add("second", type=Path, help="the other run; differences are second minus first")
    add("--metric", action="append", help="compare only this metric (may be given several times)")
    add("--permutations", type=int, default=PERMUTATIONS, help=f"for p (default: {PERMUTATIONS})")
    add("--seed", type=int, default=0, help="of draws and permutations (default: 0)")
    add("--out", type=Path, help="JSON file for the comparison")
    add_protocol_options(parser, *TASK_MODULES)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 on success, 2 with one line on stderr when the input is bad."""
    return run_command(build_parser(), argv, compare)


def compare(args: argparse.Namespace) -> dict[str, Any]:
    """Do as the arguments say; return the content of the last line.

    Raises:
        ValueError: bad input; the message names the file, the question or the option.
    """
    if args.permutations < 100:
        raise ValueError(f"--permutations must be at least 100, got {args.permutations}")
    if args.out is not None and args.out.is_dir():
        raise ValueError(f"--out {args.out} is a folder; name a file")
    first, second = read_run(args.first), read_run(args.second)
    protocol = given_protocol(args, first.module)
    pairs = paired(first, second)
    comparison = {
        "task": first.task.value,
        "benchmark": first.predictions[0].benchmark,
        "split": first.predictions[0].split,
        "first": _describe(first),
        "second": _describe(second),
        "questions_sha256": questions_hash(first.predictions),
        **difference(first, pairs, protocol, permutations=args.permutations, seed=args.seed),
    }
    for name in args.metric or ():
        if name not in comparison["metrics"]:
            raise ValueError(f"--metric {name}: unknown; there are {', '.join(comparison['metrics'])}")
    if args.metric:
        comparison["metrics"] = {name: comparison["metrics"][name] for name in args.metric}
    if args.out is not None:
        text = json.dumps(comparison, indent=2, ensure_ascii=False) + "\n"
        write_whole(args.out, lambda path: path.write_text(text, encoding="utf-8"))
    _print(comparison)
    return comparison


def difference(
    run: Run,
    pairs: Mapping[str, tuple[Prediction, Prediction]],
    protocol: Choices,
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare answers to the same questions.

    Args:
        run: the first run.
        pairs: both runs' predictions by question, in the order of the first run.
        protocol: value of every switch.
        permutations: see `eval.metrics.permutation`.
        seed: of draws and permutations.

    Returns:
        For each metric the value of both runs, their difference (second minus first) with its 95 % interval
        and p, in fractions, None where undefined; unparsable counts, and how it was done.

    Raises:
        ValueError: the protocol leaves no question to score.
    """
    rows = run.module.select([first for first, _ in pairs.values()], protocol)
    if not rows:
        raise ValueError("no predictions to score under this protocol")
    answers = [[pair[side].parsed for pair in (pairs[row.id] for row in rows)] for side in (0, 1)]
    measure = run.module.measure(rows, protocol)
    columns = [measure.columns(given) for given in answers]
    images = [row.images for row in rows]
    bootstrap = ClusterBootstrap(images, resamples=RESAMPLES, seed=seed)
    values = [measure.finish(each.sum(axis=0, keepdims=True))[0] for each in columns]
    draws = [measure.finish(bootstrap.sums(each)) for each in columns]
    low, high = percentile_interval(draws[1] - draws[0])
    if bootstrap.num_clusters < 2:  # says nothing about the spread between images
        low = high = np.full(len(measure.names), np.nan)
    test = swap_test(columns[0], columns[1], images, measure.finish, permutations=permutations, seed=seed)
    metrics = {
        name: {
            "first": _defined(values[0][k]),
            "second": _defined(values[1][k]),
            "difference": {
                "value": _defined(values[1][k] - values[0][k]),
                "low": _defined(low[k]),
                "high": _defined(high[k]),
            },
            "p": _defined(test.p_values[k]),
        }
        for k, name in enumerate(measure.names)
    }
    return {
        "n": len(rows),
        "images": bootstrap.num_clusters,
        "unparsable": [sum(not run.module.readable(answer) for answer in given) for given in answers],
        "metrics": metrics,
        "protocol": dict(protocol),
        "interval": {
            "method": "percentile bootstrap over images, same draws for both runs",
            "level": 0.95,
            "resamples": RESAMPLES,
            "seed": seed,
        },
        "test": {
            "method": "two-sided, answers of the two runs swapped image by image",
            "swaps": test.swaps,
            "exact": test.exact,
            "seed": seed,
        },
    }


def paired(first: Run, second: Run) -> dict[str, tuple[Prediction, Prediction]]:
    """Both runs' predictions by question.

    Raises:
        ValueError: the runs are of other tasks or answered other questions; the message says where.
    """
    if first.task is not second.task:
        raise ValueError(
            f"{first.path} is of task {first.task}, {second.path} of task {second.task}: nothing to compare"
        )
    theirs = {row.id: row for row in second.predictions}
    only_first = [row.id for row in first.predictions if row.id not in theirs]
    only_second = list(theirs.keys() - {row.id for row in first.predictions})
    if only_first or only_second:
        found = "; ".join(
            f"{len(ids)} only in {run.path} (e.g. {min(ids)!r})"
            for run, ids in ((first, only_first), (second, only_second))
            if ids
        )
        raise ValueError(
            f"the runs answered other questions: {found}; run both with the same --limit and --seed"
        )
    pairs = {row.id: (row, theirs[row.id]) for row in first.predictions}
    for mine, other in pairs.values():
        changed = [name for name in _SAME if getattr(mine, name) != getattr(other, name)]
        if changed:
            raise ValueError(
                f"the runs answered other questions: {mine.id!r} differs in {', '.join(changed)} between "
                f"{first.path} and {second.path}"
            )
    return pairs


def _describe(run: Run) -> dict[str, Any]:
    row = run.predictions[0]
    return {
        "predictions": str(run.path),
        "predictions_sha256": sha256_of(run.path),
        "model": dict(row.model),
        "decoder": dict(row.decoder),
    }


def _defined(number: float) -> float | None:
    return None if np.isnan(number) else float(number)


def _print(comparison: Mapping[str, Any]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 100)  # a pipe has no width of its own
    rows = [
        [
            words(name),
            format_value({"value": found["first"]}),
            format_value({"value": found["second"]}),
            format_cell(found["difference"]),
            "-" if found["p"] is None else f"{found['p']:.4f}",
        ]
        for name, found in comparison["metrics"].items()
    ]
    title = f"{comparison['task']} on {comparison['benchmark']} ({comparison['split']}), per cent"
    header = ["", "first", "second", "second minus first", "p"]
    print_titled(console, title, table(header, rows, strong=3))
    test, unparsable = comparison["test"], comparison["unparsable"]
    tried = f"all {test['swaps']} swaps" if test["exact"] else f"{test['swaps']} swaps, seed {test['seed']}"
    facts = {
        "questions": f"{comparison['n']} about {comparison['images']} images",
        "unparsable": f"{unparsable[0]} and {unparsable[1]} (scored as wrong)",
        "first": f"{comparison['first']['model']['id']} ({comparison['first']['predictions']})",
        "second": f"{comparison['second']['model']['id']} ({comparison['second']['predictions']})",
        "protocol": ", ".join(f"{name} {value}" for name, value in comparison["protocol"].items()),
        "p": f"{test['method']}, {tried}; of each metric alone",
    }
    print_facts(console, facts)


if __name__ == "__main__":
    sys.exit(main())
