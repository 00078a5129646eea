"""The command `rsunivlm card`: its options, and where the text goes."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

README = "README.md"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `rsunivlm card`."""
    parser.add_argument("model", type=Path, help="checkpoint folder; the card becomes README.md in it")
    parser.add_argument(
        "--scores",
        nargs="+",
        type=Path,
        default=[],
        metavar="RESULTS.json",
        help="results of eval/run_benchmark.py; refused if measured on other weights",
    )
    parser.add_argument("--name", help="title, and the model's name in the examples (default: the folder's)")
    parser.add_argument("--license", help="licence of the weights as the hub spells it, e.g. apache-2.0")
    parser.add_argument(
        "--base-model", nargs="+", default=[], metavar="ID", help="hub ids it was trained from"
    )
    parser.add_argument("--dataset", nargs="+", default=[], metavar="ID", help="hub ids it was trained on")
    parser.add_argument("--dry-run", action="store_true", help="print the card and write nothing")
    parser.add_argument("--force", action="store_true", help="replace a README.md that is there already")
    parser.set_defaults(run=run_command)


def run_command(args: argparse.Namespace) -> int:
    """Write or print the card; returns the exit code.

    Raises:
        ValueError: No such checkpoint, a bad result file, a README.md in the way, or a bad licence or id.
    """
    from rsunivlm.card.facts import read_facts
    from rsunivlm.card.scores import read_scores
    from rsunivlm.card.text import Statements, render
    from rsunivlm.inference.loading import quiet_libraries

    target = args.model / README
    if target.exists() and not (args.force or args.dry_run):
        raise ValueError(f"{target} exists; --force replaces it, --dry-run prints the card instead")
    quiet_libraries()
    statements = Statements(
        args.name or args.model.resolve().name, args.license, tuple(args.base_model), tuple(args.dataset)
    )
    facts = read_facts(args.model)
    text = render(facts, read_scores(args.scores, facts), statements)
    if args.dry_run:
        print(text, end="")
        return 0
    partial = target.with_name(f".{README}")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, target)
    print(f"wrote {target}")
    return 0
