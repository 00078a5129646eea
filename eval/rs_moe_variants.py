"""RS-MoE beside its controls and ablations: train each, score each, one table with intervals.

    python eval/rs_moe_variants.py --data RSICD
    python eval/rs_moe_variants.py --data RSICD --only rs_moe --only control1_prompts_only
    python eval/rs_moe_variants.py --data RSICD --benchmark my_captions.jsonl
    python eval/rs_moe_variants.py --task vqa --benchmark rsvqa_lr --data RSVQA_LR

What there is stands in `eval/rs_moe_variants.yaml` (or another file, ``--plan``). Runs are trained by the
scripts a user would call and scored by `run_benchmark.py`; what is there already is not done again, so an
interrupted program is started again with the same command. Every row is compared with the first, on the same
draws of images (`eval.compare`). Beside the scores stands the mean length of the captions: length alone can
move them. The last line on stdout is one JSON object. Bad input ends with exit code 2 and one line that
begins with ``error:``.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # as in run_benchmark.py

import argparse
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from eval.compare import difference, paired
from eval.options import Parser, run_command
from eval.report import format_cell, table
from eval.runs import RESULTS, read_run
from eval.tasks import protocol_of
from rsunivlm.yaml_files import read_yaml

PROJECT = Path(__file__).resolve().parents[1]
PLAN = Path(__file__).with_suffix(".yaml")
_STDERR = 2  # file descriptor
TASKS = ("cap", "vqa")
SHOWN = {"cap": ("cider", "bleu_1", "bleu_4", "meteor", "rouge_l")}  # of other tasks, every metric


@dataclass(frozen=True)
class Trained:
    """A run to train.

    Attributes:
        stage: Of the recipe.
        overrides: Of its settings.
    """

    stage: int
    overrides: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """A model to score.

    Attributes:
        name: In the table and of its folder.
        run: Whose checkpoint it is.
        config: Fields of the checkpoint's configuration to change.
        generation: Generation settings to change.
        tasks: It is scored in, of `TASKS`.
    """

    name: str
    run: str
    config: Mapping[str, Any] = field(default_factory=dict)
    generation: Mapping[str, Any] = field(default_factory=dict)
    tasks: Sequence[str] = TASKS[:1]


@dataclass(frozen=True)
class Plan:
    """What is trained and scored: a recipe, a benchmark of captions, runs by name, and rows in order."""

    recipe: str
    benchmark: str
    runs: Mapping[str, Trained]
    rows: tuple[Row, ...]

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Read a plan.

        Raises:
            ValueError: It is no such file, or a row names no run; names file and key.
        """
        found = read_yaml(path, "plan")
        try:
            runs = {name: Trained(**run) for name, run in found["runs"].items()}
            rows = tuple(Row(**row) for row in found["rows"])
            plan = cls(found["recipe"], found["benchmark"], runs, rows)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is no plan: {' '.join(str(error).split())}") from error
        for row in rows:
            if row.run not in runs:
                raise ValueError(f"{path}: row {row.name} looks at run {row.run!r}, which there is not")
        return plan

    def folder(self, run: str) -> Path:
        """Where a run's checkpoint lies."""
        trained = self.runs[run]
        return Path("runs") / self.recipe / (run if trained.overrides else f"stage{trained.stage}")


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = Parser(prog="rs_moe_variants.py", description="Compare RS-MoE with its controls and ablations.")
    add = parser.add_argument
    add("--task", choices=TASKS, default=TASKS[0], help=f"what to score (default: {TASKS[0]})")
    add("--benchmark", help="as of run_benchmark.py (default for captions: the plan's)")
    add("--data", type=Path, required=True, help="folder of the benchmark, in its native layout")
    add("--plan", type=Path, default=PLAN, help=f"what to compare (default: {PLAN.name})")
    add("--only", action="append", help="only these rows (may be given several times)")
    add("--set", action="append", default=[], help="a setting of every training run, as key=value")
    add("--limit", type=int, help="ask only this many questions")
    add("--batch-size", type=int, default=48, help="rows decoded at once (default: 48)")
    add("--out", type=Path, help="output folder (default: results/rs_moe_variants/<task>_<benchmark>)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 on success, 2 with one line on stderr when the input is bad."""
    return run_command(build_parser(), argv, run)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Do as the arguments say; return the content of the last line.

    Raises:
        ValueError: Bad input, or a program that is called has failed; names it.
    """
    plan = Plan.read(args.plan)
    if args.benchmark is None:
        if args.task != TASKS[0]:
            raise ValueError(f"--task {args.task} needs --benchmark; the plan names one for captions only")
        args.benchmark = plan.benchmark
    out = args.out or Path("results/rs_moe_variants") / f"{args.task}_{Path(args.benchmark).stem}"
    rows = [row for row in plan.rows if args.task in row.tasks]
    if unknown := sorted(set(args.only or ()) - {row.name for row in rows}):
        raise ValueError(f"--only {unknown[0]}: there are {', '.join(row.name for row in rows)}")
    rows = [row for row in rows if not args.only or row.name in args.only]
    for row in rows:
        for name in dict.fromkeys((*_before(plan, row.run), row.run)):
            train(plan, name, args.set)
        score(plan, row, args, out)
    found = [summary(out / row.name, out / rows[0].name, row.name) for row in rows]
    _print(f"{plan.recipe} on {args.benchmark}", found)
    return {"task": args.task, "benchmark": args.benchmark, "recipe": plan.recipe, "rows": found}


def train(plan: Plan, name: str, settings: Sequence[str]) -> None:
    """Train a run, unless its checkpoint is there."""
    trained, folder = plan.runs[name], plan.folder(name)
    if folder.exists():
        return
    script = PROJECT / f"scripts/train_rs_moe_stage{trained.stage}.sh"
    overrides = [f"{key}={json.dumps(value)}" for key, value in trained.overrides.items()]  # JSON is YAML
    _call("bash", script, plan.recipe, f"output={folder}", *overrides, *settings)


def score(plan: Plan, row: Row, args: argparse.Namespace, folder: Path) -> None:
    """Ask a model the benchmark, unless its results are there."""
    out = folder / row.name
    if (out / RESULTS).is_file():
        return
    model = plan.folder(row.run)
    if row.config or row.generation:
        model = view(model, folder / ".models" / row.name, row)
    limit = [] if args.limit is None else ["--limit", args.limit]
    options = ("--task", args.task, "--benchmark", args.benchmark, "--data", args.data)
    asked = ("--batch-size", args.batch_size, "--out", out, *limit)
    _call(sys.executable, PROJECT / "eval/run_benchmark.py", *options, "--model", model, *asked)


def view(checkpoint: Path, folder: Path, row: Row) -> Path:
    """A checkpoint with other settings: links to its files beside a changed configuration."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    changes = {"config.json": row.config, "generation_config.json": row.generation}
    for path in checkpoint.resolve().iterdir():
        if path.is_file() and not changes.get(path.name):
            (folder / path.name).symlink_to(path)
    for name, values in changes.items():
        if values:
            file = checkpoint / name
            known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
            (folder / name).write_text(json.dumps({**known, **values}, indent=2) + "\n", encoding="utf-8")
    return folder


def summary(folder: Path, reference: Path, name: str) -> dict[str, Any]:
    """Scores of a row, its length, and its difference from the first."""
    results = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    shown = SHOWN.get(results["task"], tuple(results["metrics"]))
    entry = {
        "name": name,
        "n": results["n"],
        "words": results["details"].get("mean_words", {}).get("answers"),
        "metrics": {metric: results["metrics"][metric] for metric in shown},
    }
    if folder != reference:
        ours, theirs = read_run(reference), read_run(folder)
        found = difference(ours, paired(ours, theirs), protocol_of(ours.module, "strict", {}))["metrics"]
        entry["versus_first"] = {
            metric: {**found[metric]["difference"], "p": found[metric]["p"]} for metric in shown
        }
    return entry


def _before(plan: Plan, name: str) -> list[str]:
    """The runs that a run starts from: of stage 2, the recipe's own stage 1."""
    if plan.runs[name].stage == 1:
        return []
    return [other for other, run in plan.runs.items() if run.stage == 1 and not run.overrides]


def _call(*words: object) -> None:
    """Run a program; what it prints goes to stderr, since stdout ends in a line of ours."""
    ended = subprocess.run([str(word) for word in words], stdout=_STDERR, check=False)
    if ended.returncode:
        raise ValueError(f"{Path(str(words[1])).name} has failed (exit code {ended.returncode}), see above")


def _print(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    lines, shown = [], list(rows[0]["metrics"])
    for row in rows:
        against = row.get("versus_first", {}).get(shown[0])
        said = "-" if against is None else f"{format_cell(against)}, p {against['p']:.4f}"
        words = "-" if row["words"] is None else f"{row['words']:.1f}"
        lines.append([row["name"], words, *map(format_cell, row["metrics"].values()), said])
    header = ["", "words", *shown, f"{shown[0]} minus {rows[0]['name']}"]
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(f"{title}, {rows[0]['n']} questions, per cent with 95 % intervals")
    console.print(table(header, lines))


if __name__ == "__main__":
    sys.exit(main())
