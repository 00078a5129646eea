"""Run a benchmark: ask a model every question, score the answers, write tables, numbers and pictures.

    python eval/run_benchmark.py --task vg
    python eval/run_benchmark.py --task vg --benchmark dior_rsvg --data DIOR_RSVG --model runs/my/stage2
    torchrun --nproc_per_node 4 eval/run_benchmark.py --task all --model runs/my/stage2

Without model and data the bundled checkpoint answers the bundled mini benchmark. The output folder gets
`predictions.jsonl` (every answer, enough to score again), `results.json`, `report.html` and `preview.png`;
with `--task all`, a folder of these for each task and one report over all. The last line on stdout is one
JSON object. A run that was killed takes up its answers when it is started again. Bad input ends with exit
code 2 and one line that begins with ``error:``.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __package__ in (None, ""):
    # Started as a script, Python puts eval/ first on the path, where its modules would shadow others of the
    # same name; the project root belongs there.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import json
import shutil
import time
from collections.abc import Sequence
from typing import Any, NoReturn

from rich.console import Console

from eval import benchmarks
from eval.generation import Processes, choose, predict
from eval.models import load_answerer
from eval.publishing import publish
from eval.report import print_results
from eval.scoring import headline, score, with_scores
from eval.tasks import TASK_MODULES, Answerer, Switch, TaskModule, protocol_of, task_module
from rsunivlm.tasks import Task

ALL = "all"
DTYPES = ("float32", "bfloat16", "float16")
PROTOCOLS = ("strict", "paper")
_JOURNALS = ".asking"


class _Parser(argparse.ArgumentParser):
    """Argument errors in the same form as all others: one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n")


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = _Parser(
        prog="run_benchmark.py", description="Ask a model the questions of a benchmark and score its answers."
    )
    known = ", ".join((*benchmarks.BENCHMARKS, benchmarks.RECORDS))
    add = parser.add_argument
    add("--task", required=True, help=f"what to ask for: {', '.join(TASK_MODULES)}, or {ALL}")
    add("--benchmark", help=f"{known}, or a .jsonl record file (default: {benchmarks.DEFAULT})")
    add("--data", type=Path, help="folder of the benchmark, in its native layout")
    add("--split", help="split of the benchmark (default: its test split)")
    add("--model", help="checkpoint folder or hub id (default: the bundled nano)")
    add("--limit", type=int, help="ask only this many questions, drawn with --seed")
    add("--batch-size", type=int, default=16, help="questions answered at once (default: 16)")
    add("--out", type=Path, help="output folder (default: results/<task>_<benchmark>)")
    add("--seed", type=int, default=0, help="of --limit, intervals and pictures (default: 0)")
    add("--device", help="torch device, e.g. cuda:0 (default: a GPU where there is one)")
    add("--dtype", choices=DTYPES, help="default: bfloat16 on a GPU, float32 on the CPU")
    add_protocol_options(parser, *TASK_MODULES)
    return parser


def add_protocol_options(parser: argparse.ArgumentParser, *tasks: Task) -> None:
    """Add ``--protocol`` and the switches of tasks; a switch that is not named takes the protocol's value."""
    parser.add_argument("--protocol", choices=PROTOCOLS, default="strict", help="set of switches")
    switches: dict[str, Switch] = {}
    users: dict[str, list[str]] = {}
    for task in tasks:
        for switch in task_module(task)[1].SWITCHES:
            switches.setdefault(switch.name, switch)
            users.setdefault(switch.name, []).append(str(task))
    group = parser.add_argument_group("switches of the protocol")
    for name, switch in switches.items():
        option = f"--{name.replace('_', '-')}"
        text = f"{', '.join(users[name])}: {switch.help} (strict: {switch.strict}, paper: {switch.paper})"
        if switch.choices:
            group.add_argument(option, dest=name, choices=switch.choices, default=None, help=text)
        else:
            group.add_argument(
                option, dest=name, action=argparse.BooleanOptionalAction, default=None, help=text
            )


def given_switches(args: argparse.Namespace) -> dict[str, Any]:
    """The switches that the command line names."""
    names = {switch.name for task in TASK_MODULES for switch in task_module(task)[1].SWITCHES}
    return {name: value for name in sorted(names) if (value := getattr(args, name, None)) is not None}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 on success, 2 with one line on stderr when the input is bad."""
    args = build_parser().parse_args(argv)
    try:
        last = run(args)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if last is not None:
        print(json.dumps(last))
    return 0


def run(args: argparse.Namespace) -> dict[str, Any] | None:
    """Run as the arguments say; return the content of the last line (None in all processes but the first)."""
    for name in ("batch_size", "limit"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    given = given_switches(args)
    jobs = []
    for task in benchmarks.tasks_of(args.benchmark) if args.task == ALL else [args.task]:
        task, module = task_module(task)
        mine = given if args.task != ALL else _applicable(module, given)
        questions = benchmarks.load(args.benchmark, task, module, args.data, args.split)
        jobs.append((module, questions, protocol_of(module, args.protocol, mine)))
    out = args.out or Path("results") / f"{args.task}_{jobs[0][1].benchmark}"
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; name a folder")
    answerer = load_answerer(args.model, args.device, args.dtype)
    single = len(jobs) == 1
    lines = [_run_task(args, job, answerer, out if single else out / job[1].task) for job in jobs]
    finished = [line for line in lines if line is not None]
    if single or not finished:
        return finished[0] if finished else None
    return {"task": ALL, "benchmark": finished[0]["benchmark"], "tasks": finished, "out": str(out)}


def _applicable(module: TaskModule, given: dict[str, Any]) -> dict[str, Any]:
    names = {switch.name for switch in module.SWITCHES}
    return {name: value for name, value in given.items() if name in names}


def _run_task(
    args: argparse.Namespace,
    job: tuple[TaskModule, benchmarks.Questions, dict[str, Any]],
    answerer: Answerer,
    out: Path,
) -> dict[str, Any] | None:
    module, questions, protocol = job
    start = time.perf_counter()
    chosen = choose(questions, args.limit, args.seed)
    answered = predict(
        answerer,
        questions,
        module,
        chosen,
        out / _JOURNALS,
        batch_size=args.batch_size,
        processes=Processes.from_environment(),
    )
    if answered is None:
        return None
    seconds = time.perf_counter() - start
    predictions = with_scores(module, answered[0], protocol)
    results = {
        "task": questions.task.value,
        "benchmark": questions.benchmark,
        "split": questions.split,
        **score(module, predictions, protocol, seed=args.seed),
        "definitions": dict(answered[1].definitions),
        "limit": {"asked": len(predictions), "of": len(questions.records), "seed": args.seed},
        "notes": list(questions.notes),
        "model": predictions[0].model,
        "decoder": predictions[0].decoder,
    }
    publish(out, module, predictions, results, questions.root)
    shutil.rmtree(out / _JOURNALS, ignore_errors=True)

    console = Console(width=None if sys.stdout.isatty() else 100)  # a pipe has no width of its own
    print_results(console, results, out)
    return {
        "task": questions.task.value,
        "benchmark": questions.benchmark,
        "split": questions.split,
        "n": results["n"],
        **headline(results),
        "model": results["model"]["id"],
        "seconds": round(seconds, 1),
        "out": str(out),
    }


if __name__ == "__main__":
    sys.exit(main())
