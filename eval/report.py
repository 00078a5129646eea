"""The terminal tables: each metric of the model between its ceiling and its baselines, and beside the paper.

Tasks have up to 17 metrics and 5 yardsticks, so metrics are rows: the model's score and its gain over the
best baseline with their intervals, of the yardsticks the values alone. All intervals stand in `report.html`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from eval.beside import Beside, beside
from rsunivlm.tasks import Task

# Yardsticks with these endings say what could be reached; all others are baselines, to be beaten.
BOUNDS = ("_ceiling", "_reference")
_HEADING_WIDTH = 10
_ANY_WIDTH = 10_000
_GAIN = "gain over best baseline"
_SPELLINGS = {
    "bleu_": "BLEU-",
    "rouge_l": "ROUGE-L",
    "rouge_1": "ROUGE-1",
    "meteor": "METEOR",
    "cider": "CIDEr",
    "iou": "IoU",
    "_": " ",
}


def print_results(console: Console, results: Mapping[str, Any], out: Path) -> None:
    """Print the tables of one run and, below them, what a reader needs to believe them."""
    title = f"{results['task']} on {results['benchmark']} ({results['split']}), {results['n']} questions"
    title = f"{title}, per cent [95 % interval]"
    header = ["", "model", *map(words, results["yardsticks"])]
    rows, gains = [], []
    for metric, cell in results["metrics"].items():
        values = [format_value(cells[metric]) for cells in results["yardsticks"].values()]
        best = best_baseline(results, metric)
        rows.append([words(metric), format_cell(cell), *values])
        gains.append(format_cell(results["margins"][best][metric]) if best else "-")
    with_gains = [[*row, gain] for row, gain in zip(rows, gains, strict=True)]
    wide = table([*header, _GAIN], with_gains)
    if not any(map(is_baseline, results["yardsticks"])):
        print_titled(console, title, table(header, rows))
    elif console.measure(wide, options=console.options.update(width=_ANY_WIDTH)).maximum <= console.width:
        print_titled(console, title, wide)
    else:
        print_titled(console, title, table(header, rows))
        alone = [[row[0], gain] for row, gain in zip(rows, gains, strict=True)]
        print_titled(console, f"{_GAIN}, per cent [95 % interval]", table(["", "gain"], alone))
    published = beside(Task(results["task"]), results["benchmark"], results["split"])
    if published is not None:
        _print_beside(console, published, results["metrics"])
    print_facts(console, facts(results) | {"written to": out})


def print_titled(console: Console, title: str, content: Table) -> None:
    """Print a table below its title, however narrow the table is."""
    console.print(title, style="italic", markup=False, highlight=False, soft_wrap=True)
    console.print(content)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], strong: int = 1) -> Table:
    """A table whose first column names the rows.

    Args:
        header: of every column.
        rows: their cells.
        strong: the column in bold type.
    """
    found = Table(box=SIMPLE_HEAD, padding=0)
    found.add_column(header[0], no_wrap=True)
    for number, name in enumerate(header[1:], 1):
        heading = textwrap.fill(name, _HEADING_WIDTH, break_long_words=False)
        style = "bold" if number == strong else ""
        found.add_column(heading, justify="right", no_wrap=True, style=style)
    for row in rows:
        found.add_row(*row)
    return found


def print_facts(console: Console, facts: Mapping[str, Any]) -> None:
    """Print what a reader needs to believe the table, one ``name: value`` per line."""
    for name, value in facts.items():
        console.print(f"{words(name)}: {value}", markup=False, highlight=False, soft_wrap=True)


def facts(results: Mapping[str, Any]) -> dict[str, str]:
    """What belongs beside the numbers of a run, by name, in words."""
    limit, model = results["limit"], results["model"]
    drawn = f", drawn from {limit['of']} with seed {limit['seed']}" if limit["asked"] != limit["of"] else ""
    left_out = results["left_out_by_protocol"]
    return {
        "questions": f"{results['n']} about {results['images']} images"
        + (drawn if limit["of"] is not None else "")
        + (f"; the protocol leaves out {left_out} of {results['n'] + left_out}" if left_out else ""),
        "unparsable": f"{results['unparsable']} (scored as wrong)",
        "protocol": ", ".join(f"{name} {value}" for name, value in results["protocol"].items()),
        "model": f"{model['id']} (weights {model.get('weights', 'unknown')})",
        **results["definitions"],
        **{f"note {number}": note for number, note in enumerate(results["notes"], 1)},
    }


def is_baseline(yardstick: str) -> bool:
    """Whether a yardstick is something to beat, rather than what could be reached."""
    return not yardstick.endswith(BOUNDS)


def best_baseline(results: Mapping[str, Any], metric: str) -> str | None:
    """The baseline with the highest score in a metric; None where none has one."""
    scores = {
        name: cells[metric]["value"]
        for name, cells in results["yardsticks"].items()
        if is_baseline(name) and cells[metric]["value"] is not None
    }
    return max(scores, key=lambda name: scores[name]) if scores else None


def format_cell(cell: Mapping[str, float | None]) -> str:
    """``{"value": 0.5, "low": 0.41, "high": 0.587}`` -> ``"50.0 [41.0, 58.7]"``; no interval, no bracket."""
    low, high = cell["low"], cell["high"]
    text = format_value(cell)
    return text if low is None or high is None else f"{text} [{100 * low:.1f}, {100 * high:.1f}]"


def format_value(cell: Mapping[str, float | None]) -> str:
    """The value of a cell in per cent, without its interval; a dash where there is none."""
    return "-" if cell["value"] is None else f"{100 * cell['value']:.1f}"


def words(key: str) -> str:
    """A name of the results as people write it: ``changed_bleu_4`` -> ``changed BLEU-4``."""
    for plain, written in _SPELLINGS.items():
        key = key.replace(plain, written)
    return key


def _print_beside(console: Console, published: Beside, metrics: Mapping[str, Any]) -> None:
    header = ["", *published.columns]
    rows = [
        [name, *(format_value(metrics[metric]) if metric in metrics else "-" for metric in mine)]
        for name, mine in published.ours
    ]
    for cells in published.rows:
        rows.append([f"{cell.text} ({','.join(cell.marks)})" if cell.marks else cell.text for cell in cells])
    print_titled(console, published.title, table(header, rows, strong=0))
    for letter, text in published.notes:
        prefix = f"({letter}) " if letter else ""
        console.print(f"{prefix}{text}", markup=False, highlight=False, soft_wrap=True)
    console.print()
