"""Run a benchmark: ask a model every question, score the answers, write tables, numbers and pictures.

    python eval/run_benchmark.py --task vg
    python eval/run_benchmark.py --task vg --benchmark dior_rsvg --data DIOR_RSVG --model runs/my/stage2
    torchrun --nproc_per_node 4 eval/run_benchmark.py --task all --model runs/my/stage2
    python eval/run_benchmark.py --task vqa --model hf:Qwen/Qwen2-VL-2B-Instruct

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
import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from eval import benchmarks
from eval.generation import choose, forget, predict
from eval.html_report import TaskReport
from eval.models import FOREIGN, Dialect, load_answerer
from eval.models.coordinates import SPACES
from eval.options import Parser, add_protocol_options, given_switches, run_command
from eval.procedures import Asking
from eval.processes import Processes, connected
from eval.publishing import publish, publish_overview
from eval.report import print_results
from eval.runs import Background, results_of
from eval.scoring import headline, with_scores
from eval.tasks import TASK_MODULES, Answerer, TaskModule, protocol_of, task_module
from rsunivlm.inference.tiling import Tiling

ALL = "all"
DTYPES = ("float32", "bfloat16", "float16")
DECODE_RULES = ("nearest", "bilinear")
_JOURNALS = ".asking"


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = Parser(
        prog="run_benchmark.py", description="Ask a model the questions of a benchmark and score its answers."
    )
    known = ", ".join((*benchmarks.BENCHMARKS, benchmarks.RECORDS))
    add = parser.add_argument
    add("--task", required=True, help=f"what to ask for: {', '.join(TASK_MODULES)}, or {ALL}")
    add("--benchmark", help=f"{known}, or a .jsonl record file (default: {benchmarks.DEFAULT})")
    add("--data", type=Path, help="folder of the benchmark, in its native layout")
    add("--split", help="split of the benchmark (default: its test split)")
    add("--model", help=f"checkpoint or hub id (default: the bundled nano); {FOREIGN}ID for other models")
    add("--limit", type=int, help="ask only this many questions, drawn with --seed")
    add("--batch-size", type=int, default=16, help="questions answered at once (default: 16)")
    add("--out", type=Path, help="output folder (default: results/<task>_<benchmark>)")
    add("--seed", type=int, default=0, help="of --limit, intervals and pictures (default: 0)")
    add("--device", help="torch device, e.g. cuda:0 (default: a GPU where there is one)")
    add("--dtype", choices=DTYPES, help="default: bfloat16 on a GPU, float32 on the CPU")
    add("--int8", action="store_true", help="make the weights int8, for answering on a CPU")
    add("--cache", type=Path, help="folder for crops of large rasters (default: crops, below --out)")
    add("--constrained", action="store_true", help="hold boxes, masks and scene classes to their grammar")
    masks = parser.add_argument_group("how masks are asked for")
    masks.add_argument("--tile", type=int, help="cut scenes into tiles of this many pixels (ss, cd)")
    masks.add_argument("--overlap", type=int, help="of tiles, in pixels (default: an eighth of --tile)")
    masks.add_argument("--decode", choices=DECODE_RULES, help="(ss, cd; default: the checkpoint's rule)")
    masks.add_argument("--cot", action="store_true", help="ask for the change in words first (cd)")
    others = parser.add_argument_group(f"models of others ({FOREIGN}...)")
    others.add_argument("--coordinates", choices=SPACES, help="how the model writes boxes (vg, reg)")
    others.add_argument("--prompt-style", help="plain (the default), token, or a .yaml file of prompts")
    add_protocol_options(parser, *TASK_MODULES)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 on success, 2 with one line on stderr when the input is bad."""

    def work(args: argparse.Namespace) -> dict[str, Any] | None:
        with connected() as processes:
            return run(args, processes)

    return run_command(build_parser(), argv, work)


def run(args: argparse.Namespace, processes: Processes) -> dict[str, Any] | None:
    """Run as the arguments say; return the content of the last line (None in all processes but the first)."""
    for name in ("batch_size", "limit"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    given = given_switches(args)
    asking = Asking(Tiling.given(args.tile, args.overlap), args.decode, args.cot)
    cache = args.cache or (args.out or Path("results")) / "crops"
    jobs = []
    tasks = benchmarks.tasks_of(args.benchmark) if args.task == ALL else [task_module(args.task)[0]]
    dialect = Dialect.given(args.model, tasks, args.coordinates, args.prompt_style)
    if args.constrained and dialect is not None:
        raise ValueError(f"--constrained is for checkpoints of this project, not for --model {FOREIGN}...")
    if args.int8 and dialect is not None:
        raise ValueError(f"--int8 is for checkpoints of this project, not for --model {FOREIGN}...")
    for task in tasks:
        _, module = task_module(task)
        mine = given if args.task != ALL else _applicable(module, given)
        if args.task != ALL:
            asking.check(task)
        questions = benchmarks.load(args.benchmark, task, module, args.data, args.split, cache)
        jobs.append((module, questions, protocol_of(module, args.protocol, mine)))
    out = args.out or Path("results") / f"{args.task}_{jobs[0][1].benchmark}"
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; name a folder")
    answerer = load_answerer(args.model, args.device, args.dtype, dialect, args.constrained, args.int8)
    if args.task == ALL:
        jobs = [job for job in jobs if job[1].task in answerer.tasks]
        if not jobs:
            raise ValueError(f"--model {args.model} answers no task of benchmark {args.benchmark}")
    single = len(jobs) == 1
    done = [
        _run_task(
            args, processes, job, asking.applied(answerer, job[1].task), out if single else out / job[1].task
        )
        for job in jobs
    ]
    finished = [entry for entry in done if entry is not None]
    if not finished:
        return None
    reports, lines, journals = zip(*finished, strict=True)
    if not single:
        publish_overview(out, reports)
    for folder in journals:  # kept till here, so that a run killed in its last task asks none of the others
        forget(folder)
    if single:
        return lines[0]
    return {"task": ALL, "benchmark": lines[0]["benchmark"], "tasks": lines, "out": str(out)}


def _applicable(module: TaskModule, given: dict[str, Any]) -> dict[str, Any]:
    """The given switches that this task has, with values that it knows."""
    known = {switch.name: switch for switch in module.SWITCHES}
    return {name: value for name, value in given.items() if name in known and known[name].takes(value)}


def _run_task(
    args: argparse.Namespace,
    processes: Processes,
    job: tuple[TaskModule, benchmarks.Questions, dict[str, Any]],
    answerer: Answerer,
    out: Path,
) -> tuple[TaskReport, dict[str, Any], Path] | None:
    """Report, last line and journals of one task; None in all processes but the first."""
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
        processes=processes,
    )
    if answered is None:
        return None
    seconds = time.perf_counter() - start
    predictions = with_scores(module, answered.predictions, protocol)
    background = Background(
        definitions=answered.yardsticks.definitions,
        notes=questions.notes,
        available=len(questions.records),
        seed=args.seed,
        image_root=questions.root,
    )
    results = results_of(module, predictions, protocol, background)
    report = publish(out, module, predictions, results, questions.root)

    console = Console(width=None if sys.stdout.isatty() else 100)  # a pipe has no width of its own
    print_results(console, results, out)
    line = {
        "task": questions.task.value,
        "benchmark": questions.benchmark,
        "split": questions.split,
        "n": results["n"],
        **headline(results),
        "model": results["model"]["id"],
        "seconds": round(seconds, 1),
        "out": str(out),
    }
    return report, line, answered.journals


if __name__ == "__main__":
    sys.exit(main())
