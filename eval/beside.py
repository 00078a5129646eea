"""What the paper printed, beside what a run scored: the rows of its Tables 2 to 7 for a benchmark.

Only our metrics that mean what a column means stand under it. Rows that the paper prints in another column
order (Table 2) appear a second time, re-ordered. Footnotes come along.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from eval.paper import TABLES
from rsunivlm.tasks import Task

_LETTERS = "abcdefgh"


@dataclass(frozen=True)
class Cell:
    """A cell to print, and the letters of the footnotes on it."""

    text: str
    marks: str = ""


@dataclass(frozen=True)
class Beside:
    """The part of a published table that belongs beside a run.

    Attributes:
        title: number and title of the table.
        columns: headings, without that of the methods.
        ours: rows of our own: name, and our metric in each column.
        rows: the published rows, method first.
        notes: letter and text of each footnote; no letter where it is about the whole table.
    """

    title: str
    columns: tuple[str, ...]
    ours: tuple[tuple[str, tuple[str, ...]], ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _Place:
    """Where the published numbers of a benchmark stand.

    Attributes:
        table: number of the table.
        columns: its columns for this benchmark.
        ours: rows of our own: name, and our metric in each column.
        split: the split the paper scores, where there are several.
    """

    table: int
    columns: tuple[str, ...]
    ours: Mapping[str, tuple[str, ...]]
    split: str = ""


def beside(task: Task, benchmark: str, split: str) -> Beside | None:
    """The published rows to print beside a run; None where the paper has none.

    Args:
        task: of the run.
        benchmark: its name.
        split: the split that was asked; a footnote says so where the paper scores another one.
    """
    place = _PLACES.get((task, benchmark))
    if place is None:
        return None
    table, columns = TABLES[place.table], place.columns
    about = [note for note in table.notes if not note.columns or set(note.columns) & set(columns)]
    on_cells = [note for note in about if note.methods or note.columns]
    lettered = dict(zip(_LETTERS, on_cells, strict=False))

    def marks(method: str, column: str | None) -> str:
        return "".join(letter for letter, note in lettered.items() if note.concerns(method, column))

    rows = []
    for method, cells in table.rows.items():
        shown = [cells[table.columns.index(column)] for column in columns]
        marked = [Cell(text, marks(method, column)) for text, column in zip(shown, columns, strict=True)]
        rows.append((Cell(method, marks(method, None)), *marked))
        other = table.reordered.get(method, cells)
        better = [other[table.columns.index(column)] for column in columns]
        if better != shown:
            rows.append((Cell(f"{method}, re-ordered"), *map(Cell, better)))
    general = [note.text for note in about if note not in on_cells]
    if place.split and split != place.split:
        general.append(f"this run scores split {split}, the paper most likely {place.split}")
    return Beside(
        title=f"Table {table.number} of the paper: {table.title}",
        columns=columns,
        ours=tuple(place.ours.items()),
        rows=tuple(rows),
        notes=(
            *((letter, note.text) for letter, note in lettered.items()),
            *(("", text) for text in general),
        ),
    )


_RUN = "this run"
_VG_METRICS = ("acc@0.5", "acc@0.7")
_CAPTION_METRICS = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "meteor", "rouge_l", "cider")
_CHANGE_METRICS = ("F1", "precision", "recall", "OA", "IoU")
_HR_METRICS = ("presence", "comp", "macro_accuracy")
_LR_METRICS = ("rural_urban", *_HR_METRICS)


def _scenes(column: str) -> _Place:
    ours = {f"{_RUN}, accuracy": ("accuracy",), f"{_RUN}, balanced accuracy": ("balanced_accuracy",)}
    return _Place(3, (column,), ours)


def _columns(table: int, metrics: Sequence[str], *, first: int = 0, split: str = "") -> _Place:
    """Our metrics in the order of the table's columns, from a given one on."""
    columns = TABLES[table].columns[first : first + len(metrics)]
    return _Place(table, columns, {_RUN: tuple(metrics)}, split)


_PLACES: Mapping[tuple[Task, str], _Place] = MappingProxyType(
    {
        (Task.VQA, "rsvqa_lr"): _columns(2, _LR_METRICS),
        (Task.VQA, "rsvqa_hr"): _columns(2, _HR_METRICS, first=len(_LR_METRICS), split="test"),
        (Task.SC, "aid"): _scenes("AID"),
        (Task.SC, "whu_rs19"): _scenes("WHU-RS19"),
        (Task.SC, "nwpu"): _scenes("NWPU"),
        (Task.SC, "siri_whu"): _scenes("SIRI-WHU"),
        (Task.VG, "dior_rsvg"): _columns(4, _VG_METRICS),
        (Task.VG, "vrsbench_ref"): _columns(4, _VG_METRICS, first=len(_VG_METRICS)),
        (Task.CC, "levir_mci"): _columns(5, _CAPTION_METRICS),
        (Task.CD, "whu_cd"): _columns(6, _CHANGE_METRICS),
        (Task.SS, "vaihingen"): _columns(7, ("mIoU",)),
        (Task.SS, "udd5"): _columns(7, ("mIoU",), first=1),
        (Task.SS, "vdd"): _columns(7, ("mIoU",), first=2),
    }
)
