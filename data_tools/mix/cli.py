"""``python -m data_tools mix``: the paper's mixtures from converted datasets."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from data_tools.mix.tables import STAGES, TOTALS_NOTE
from data_tools.mix.writing import PER_GRANULARITY, MixedRow, mix


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the sub-command ``mix``."""
    parser = subparsers.add_parser(
        "mix",
        help="write the paper's training mixtures",
        description="Choose the samples of the paper's Tables 10 and 11 (stage 1) or 12 (stage 2) from "
        "converted datasets, without the records that show test images of a benchmark.",
    )
    add = parser.add_argument
    add("stage", choices=tuple(STAGES))
    add("--data", type=Path, required=True, help="folder of the outputs of `convert NAME --out DATA/NAME`")
    add("--out", type=Path, help="mixture file to write (default: DATA/mixtures/STAGE.yaml)")
    add("--seed", type=int, default=0, help="of the order of the samples")
    add("--include-overlap", action="store_true", help="keep records that show benchmarks' test images")
    add(
        "--per-granularity",
        type=int,
        metavar="N",
        help=f"stage 2: samples for each expert (default: {PER_GRANULARITY})",
    )
    add("--allow-missing", action="store_true", help="do without datasets that are not converted")
    add("--repeat", action="store_true", help="repeat records where fewer are available than wanted")
    add(
        "--no-val", action="store_true", help="keep DIOR-RSVG's and OPT-RSVG's val, which the paper trains on"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Run the command.

    Raises:
        ValueError: the options do not fit together, or `mix` finds something wrong.
    """
    if options.per_granularity is not None and (options.stage == "stage1" or options.per_granularity < 1):
        raise ValueError("--per-granularity N goes with stage2 and must be at least 1")
    out = options.out or options.data / "mixtures" / f"{options.stage}.yaml"
    mixed = mix(
        options.stage,
        options.data,
        out,
        seed=options.seed,
        include_overlap=options.include_overlap,
        per_granularity=options.per_granularity or PER_GRANULARITY,
        allow_missing=options.allow_missing,
        repeat=options.repeat,
        val=not options.no_val,
    )
    console = Console(markup=False)
    for table in _tables(mixed.rows):
        console.print(table)
    left_out: Counter[tuple[str, str]] = Counter()
    for row in mixed.rows:
        for benchmark, count in row.left_out.items():
            left_out[row.row.title, benchmark] += count
    for (title, benchmark), count in left_out.items():
        console.print(f"left out: {count:,} records of {title} that show test images of {benchmark}")
    for remark in (*mixed.remarks, *([TOTALS_NOTE] if options.stage == "stage1" else [])):
        console.print(f"note: {remark}", highlight=False)
    console.print(f"written: {out}", highlight=False, soft_wrap=True)


def _tables(rows: tuple[MixedRow, ...]) -> list[Table]:
    """One table per table of the paper, and per granularity in Table 12, each with its total."""
    groups: dict[str, list[MixedRow]] = {}
    for mixed in rows:
        granularity = mixed.row.granularity
        level = "" if granularity is None else f", {granularity.name.lower()} level"
        groups.setdefault(f"Table {mixed.row.table}{level}", []).append(mixed)
    return [_table(title, group) for title, group in groups.items()]


def _table(title: str, rows: list[MixedRow]) -> Table:
    counts = {
        "wanted": [mixed.wanted for mixed in rows],
        "available": [mixed.available for mixed in rows],
        "taken": [sum(mixed.taken) for mixed in rows],
        "left out": [mixed.left_out.total() for mixed in rows],
    }
    table = Table(title=title, show_footer=True)
    table.add_column("dataset", footer="all", no_wrap=True)
    table.add_column("type")
    for name, column in counts.items():
        table.add_column(name, footer=f"{sum(column):,}", justify="right", no_wrap=True)
    for mixed, *numbers in zip(rows, *counts.values(), strict=True):
        table.add_row(mixed.row.title, mixed.row.type, *(f"{number:,}" for number in numbers))
    return table
