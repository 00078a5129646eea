"""Run a benchmark: ask a model every question, score the answers, write table, numbers and picture.

    python eval/run_benchmark.py --task vg
    python eval/run_benchmark.py --task vg --benchmark dior_rsvg --data DIOR_RSVG --model runs/my/stage2

Without model and data the bundled checkpoint answers the bundled mini benchmark. The output folder gets
`predictions.jsonl` (every answer, enough to score again), `results.json` and `preview.png`; the last line on
stdout is one JSON object. Bad input ends with exit code 2 and one line that begins with ``error:``.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __package__ in (None, ""):
    # Started as a script, Python puts eval/ first on the path, where its modules would shadow others of the
    # same name; the project root belongs there.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from PIL import Image
from rich.console import Console

from eval import benchmarks
from eval.generation import predict
from eval.metrics.boxes import CONVENTIONS
from eval.predictions import Prediction, write_predictions
from eval.preview import draw_grid
from eval.report import print_facts, print_table
from eval.tasks import TASK_MODULES, task_module

if TYPE_CHECKING:
    from rsunivlm import RSUniVLM

DTYPES = ("float32", "bfloat16", "float16")


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
    parser.add_argument(
        "--task", required=True, help=f"what to ask for; available: {', '.join(TASK_MODULES)}"
    )
    parser.add_argument(
        "--benchmark", help=f"{known}, or a .jsonl record file (default: {benchmarks.DEFAULT})"
    )
    parser.add_argument("--data", type=Path, help="folder of the benchmark, in its native layout")
    parser.add_argument("--split", help="split of the benchmark (default: its test split)")
    parser.add_argument("--model", help="checkpoint folder or hub id (default: the bundled nano)")
    parser.add_argument("--limit", type=int, help="ask only this many questions, drawn with --seed")
    parser.add_argument("--batch-size", type=int, default=16, help="questions answered at once (default: 16)")
    parser.add_argument("--iou", choices=CONVENTIONS, default="pixel", help="IoU convention (default: pixel)")
    parser.add_argument("--out", type=Path, help="output folder (default: results/<task>_<benchmark>)")
    parser.add_argument("--seed", type=int, default=0, help="of --limit, intervals and picture (default: 0)")
    parser.add_argument("--device", help="torch device, e.g. cuda:0 (default: a GPU where there is one)")
    parser.add_argument("--dtype", choices=DTYPES, help="default: bfloat16 on a GPU, float32 on the CPU")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 on success, 2 with one line on stderr when the input is bad."""
    args = build_parser().parse_args(argv)
    try:
        print(json.dumps(run(args)))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run one benchmark as the arguments say; return the content of the last line."""
    for name in ("batch_size", "limit"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    task, module = task_module(args.task)
    questions = benchmarks.load(args.benchmark, task, module, args.data, args.split)
    out = args.out or Path("results") / f"{task}_{questions.benchmark}"
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; name a folder")
    model_id, predictor = load_predictor(args.model, args.device, args.dtype)

    start = time.perf_counter()
    predictions, definitions = predict(
        predictor,
        questions,
        module,
        model_id=model_id,
        batch_size=args.batch_size,
        limit=args.limit,
        seed=args.seed,
    )
    seconds = time.perf_counter() - start
    options = {name: getattr(args, name) for name in module.SCORE_OPTIONS}
    predictions = [
        replace(row, score=score)
        for row, score in zip(predictions, module.per_question(predictions, **options), strict=True)
    ]
    results = {
        "task": task.value,
        "benchmark": questions.benchmark,
        "split": questions.split,
        **module.score(predictions, seed=args.seed, **options),
        "definitions": definitions,
        "limit": {"asked": len(predictions), "of": len(questions.records), "seed": args.seed},
        "notes": list(questions.notes),
        "model": predictions[0].model,
        "decoder": predictions[0].decoder,
    }
    title = f"{task} on {questions.benchmark} ({questions.split}), {len(predictions)} questions"
    picture = draw_grid(module.tiles(predictions, questions.root, seed=args.seed), title)
    publish(out, predictions, results, picture)

    console = Console(width=None if sys.stdout.isatty() else 100)  # a pipe has no width of its own
    print_table(console, f"{title}, per cent [95 % interval]", *module.table(results))
    print_facts(console, _facts(results) | {"written to": out})
    return {
        "task": task.value,
        "benchmark": questions.benchmark,
        "split": questions.split,
        "n": len(predictions),
        **module.headline(results),
        "model": results["model"]["id"],
        "seconds": round(seconds, 1),
        "out": str(out),
    }


def load_predictor(model: str | None, device: str | None, dtype: str | None) -> tuple[str, RSUniVLM]:
    """The named checkpoint, or the bundled one, with its name for the results.

    Raises:
        ValueError: It cannot be loaded, or there is no such device or number type; the message says why.
    """
    import torch  # loaded only once the data is known to be good

    from rsunivlm import RSUniVLM
    from rsunivlm.inference.loading import bundled_checkpoint, quiet_libraries

    quiet_libraries()
    checkpoint = model or bundled_checkpoint()
    torch_dtype = getattr(torch, dtype) if dtype else None
    try:
        torch_device = torch.empty(0, device=device).device if device else None
    except (RuntimeError, AssertionError) as error:  # torch raises either, by build
        raise ValueError(f"cannot use --device {device}: {str(error).splitlines()[0]}") from error
    predictor = RSUniVLM.from_pretrained(checkpoint, device=torch_device, dtype=torch_dtype)
    return Path(checkpoint).name if model is None else model, predictor


def publish(
    out: Path, predictions: Sequence[Prediction], results: dict[str, Any], picture: Image.Image
) -> None:
    """Write all files under other names first, then rename them; `results.json` comes last.

    It holds the hash of the predictions, so a reader can tell files of one run from a mixture of two.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=out) as folder:
        stage = Path(folder)
        write_predictions(stage / "predictions.jsonl", predictions)
        picture.save(stage / "preview.png")
        digest = hashlib.sha256((stage / "predictions.jsonl").read_bytes()).hexdigest()
        text = json.dumps(results | {"predictions_sha256": digest}, indent=2, ensure_ascii=False) + "\n"
        (stage / "results.json").write_text(text, encoding="utf-8")
        for name in ("predictions.jsonl", "preview.png", "results.json"):
            os.replace(stage / name, out / name)


def _facts(results: dict[str, Any]) -> dict[str, Any]:
    """What stands below the table."""
    protocol = results["protocol"]
    facts = {
        "questions": f"{results['n']} about {results['images']} images",
        "unparsable": f"{results['unparsable']} (scored as {protocol['unparsable']})",
        "protocol": ", ".join(f"{name} {value}" for name, value in protocol.items() if name != "unparsable"),
        "model": f"{results['model']['id']} (config {results['model']['config_sha256'][:12]})",
        **results["definitions"],
    }
    return facts | {f"note {number}": note for number, note in enumerate(results["notes"], 1)}


if __name__ == "__main__":
    sys.exit(main())
