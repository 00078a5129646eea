"""The terminal table of one run: the model's row between its ceiling and its baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table


def print_results(console: Console, results: Mapping[str, Any], out: Path) -> None:
    """Print the table of one run and, below it, what a reader needs to believe it."""
    title = f"{results['task']} on {results['benchmark']} ({results['split']}), {results['n']} questions"
    columns = list(results["metrics"])
    rows = [Row("model", results["metrics"], strong=True)]
    rows += [Row(name, cells) for name, cells in results["yardsticks"].items()]
    rows += [
        Row(f"gain on {name}", cells)
        for name, cells in results["margins"].items()
        if not name.endswith("ceiling")
    ]
    print_table(console, f"{title}, per cent [95 % interval]", columns, rows)
    protocol = results["protocol"]
    facts = {
        "questions": f"{results['n']} about {results['images']} images",
        "unparsable": f"{results['unparsable']} (scored as wrong)",
        "protocol": ", ".join(f"{name} {value}" for name, value in protocol.items()),
        "model": f"{results['model']['id']} (weights {results['model'].get('weights', 'unknown')})",
        **results["definitions"],
        **{f"note {number}": note for number, note in enumerate(results["notes"], 1)},
        "written to": out,
    }
    print_facts(console, facts)


@dataclass(frozen=True)
class Row:
    """One line of the table: a name and, per column, ``{"value", "low", "high"}`` as fractions."""

    name: str
    cells: Mapping[str, Mapping[str, float | None]]
    strong: bool = False


def print_table(console: Console, title: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Print scores in per cent, each with its interval."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("")
    for column in columns:
        table.add_column(_words(column), justify="right", no_wrap=True)
    for row in rows:
        cells = [format_cell(row.cells[column]) for column in columns]
        table.add_row(_words(row.name), *cells, style="bold" if row.strong else None)
    console.print(table)


def print_facts(console: Console, facts: Mapping[str, Any]) -> None:
    """Print what a reader needs to believe the table, one ``name: value`` per line."""
    for name, value in facts.items():
        console.print(f"{_words(name)}: {value}", markup=False, highlight=False, soft_wrap=True)


def format_cell(cell: Mapping[str, float | None]) -> str:
    """``{"value": 0.5, "low": 0.41, "high": 0.587}`` -> ``"50.0 [41.0, 58.7]"``; no interval, no bracket."""
    value, low, high = cell["value"], cell["low"], cell["high"]
    text = "-" if value is None else f"{100 * value:.1f}"
    return text if low is None or high is None else f"{text} [{100 * low:.1f}, {100 * high:.1f}]"


def _words(key: str) -> str:
    return key.replace("_", " ").replace("iou", "IoU")
