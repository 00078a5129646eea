"""Reads the text of a mask, however imperfect, into a grid of class ids and a report of what was repaired.

A model's answer is not a file: rows come out too long or too short, a sentence stands before the mask, a
label gets a capital or a plural, the answer stops half-way or repeats its last row a thousand times. The
reader never raises on any of it. It works row by row, so that one wrong count costs one row and not the
mask: a row that is too long is cropped, one too short is filled with its own last label, missing rows are
background, further rows are ignored. Counts are cut to the grid before anything is allocated, and the time
is linear in the length of the text. Both dialects of `mask_text` are read, and mixtures of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rsunivlm.codecs.mask_text import CLOSING, EDGE_MARKS, LABEL_START, OPENING, label_fault, normal_label

Grid = npt.NDArray[np.int64]

_KEPT_LABELS = 32  # unknown labels named in a report
_KEPT_PIECES = 8  # stray pieces quoted in a report; the rest is only counted
_KEPT_CHARS = 60  # of each of them
_KEPT_EVENTS = 16  # kinds of event in a report; there are as many as there are misspellings
_BACKGROUND_ALIASES = ("others", "other", "background")

_NEWLINE = re.compile(r"\r\n|\r|\n")
_COUNT = re.compile(r"\*[ \t]*([0-9]+)")
_SENTENCE_END = re.compile(r"[:.,;|!?>*]")
_NO_LABEL_MARK = re.compile(r"[:|!?>*]")  # an unknown label may hold a comma or a full stop, but not these


@dataclass(frozen=True)
class MaskReport:
    """What happened while a mask's text was read.

    Attributes:
        rows_expected: rows of the grid.
        rows_found: lines that hold a ``label*count`` or begin with ``label*``, superfluous ones included.
        rows_repaired: rows cropped or filled because their counts do not add up to the grid's width.
        rows_missing: rows the text lacks; they are background.
        rows_extra: rows beyond the grid; they are ignored.
        unknown_labels: labels that were not asked for; their cells are background. The first 32 that differ
            by more than spelling, each fit to be asked for in a second reading.
        stray: text that is no part of a mask, such as a sentence before it. The first 8 pieces.
        stray_chars: length of all stray text.
        notes: other events: a foreign dialect, labels read as a near spelling, kinds of repair with counts.
        valid: whether any cell could be read, i.e. at least one run has a known label.
    """

    rows_expected: int
    rows_found: int
    rows_repaired: int
    rows_missing: int
    rows_extra: int
    unknown_labels: tuple[str, ...]
    stray: tuple[str, ...]
    stray_chars: int
    notes: tuple[str, ...]
    valid: bool

    @property
    def clean(self) -> bool:
        """Whether nothing had to be repaired or ignored but punctuation and blank lines."""
        changed = self.rows_repaired + self.rows_missing + self.rows_extra + self.stray_chars
        return self.valid and not changed and not self.unknown_labels and not self.notes


def read_grid(
    text: str, labels: Sequence[str], grid: int, dialect: str, synonyms: Mapping[str, str] | None = None
) -> tuple[Grid, MaskReport]:
    """Read the text of a `grid` x `grid` mask in any dialect; `dialect` is the one that is expected.

    Args:
        text: a model's answer, whatever it holds.
        labels: class names by id, the background first; see `check_labels`.
        grid: rows and columns.
        dialect: key of `DIALECTS`; text in another one is read too and noted.
        synonyms: further names, each mapped to one of `labels`.

    Returns:
        [grid, grid] class ids and the report.

    Raises:
        ValueError: a synonym points at a label that is not in `labels`.
    """
    reader = _Reader(grid, labels, _label_index(labels, synonyms or {}))
    for line in _NEWLINE.split(_unwrap(text, reader)):
        reader.read_line(line)
    written = _dialect_of(text)
    if reader.rows_found and written not in (None, dialect):
        reader.events[f"written in the {written} dialect"] = 1
    return reader.ids, reader.report()


def _label_index(labels: Sequence[str], synonyms: Mapping[str, str]) -> dict[str, int]:
    """Every accepted spelling -> class id. Earlier kinds win: exact, normalised, synonym, plural."""
    index = {label: number for number, label in enumerate(labels)}
    for number, label in enumerate(labels):
        index.setdefault(normal_label(label), number)
    for synonym, label in synonyms.items():
        if label not in labels:
            raise ValueError(f"synonym {synonym!r} stands for {label!r}, which is not among {list(labels)!r}")
        index.setdefault(normal_label(synonym), labels.index(label))
    for alias in _BACKGROUND_ALIASES:
        index.setdefault(alias, 0)
    for spelling, number in list(index.items()):
        index.setdefault(spelling.removesuffix("s"), number)
        index.setdefault(spelling + "s", number)
    index.pop("", None)
    return index


def _unwrap(text: str, reader: _Reader) -> str:
    """The inside of ``<seg>...</seg>``, either mark optional; what stands outside is stray."""
    if opening := OPENING.search(text):
        reader.add_stray(text[: opening.start()])
        text = text[opening.end() :]
    if closing := CLOSING.search(text):
        reader.add_stray(text[closing.end() :])
        text = text[: closing.start()]
    return text


def _dialect_of(text: str) -> str | None:
    """The dialect a text is written in, or None where it has no count at all."""
    first = _COUNT.search(text)
    if first is None:
        return None
    spaced = text[: first.start()].endswith(" ")
    return "text4seg" if spaced or OPENING.search(text) else "rsunivlm"


@dataclass
class _Reader:
    """State of one reading: the grid as it fills and what happened on the way."""

    grid: int
    labels: Sequence[str]
    index: Mapping[str, int]
    ids: Grid = field(init=False)
    rows_found: int = 0
    rows_repaired: int = 0
    known_runs: int = 0
    unknown: dict[str, str] = field(default_factory=dict)
    stray: list[str] = field(default_factory=list)
    stray_chars: int = 0
    events: Counter[str] = field(default_factory=Counter)
    resolved: dict[str, int | None] = field(default_factory=dict)
    longest_label: int = field(init=False)

    def __post_init__(self) -> None:
        self.ids = np.zeros((self.grid, self.grid), dtype=np.int64)
        self.longest_label = max(len(spelling.split()) for spelling in self.index)

    def report(self) -> MaskReport:
        return MaskReport(
            rows_expected=self.grid,
            rows_found=self.rows_found,
            rows_repaired=self.rows_repaired,
            rows_missing=max(0, self.grid - self.rows_found),
            rows_extra=max(0, self.rows_found - self.grid),
            unknown_labels=tuple(self.unknown.values()),
            stray=tuple(self.stray),
            stray_chars=self.stray_chars,
            notes=tuple(f"{event}: {count}" for event, count in self.events.items()),
            valid=self.known_runs > 0,
        )

    def add_stray(self, piece: str) -> None:
        piece = piece.strip(EDGE_MARKS + "\t|")
        if not piece:
            return
        self.stray_chars += len(piece)
        if len(self.stray) < _KEPT_PIECES:
            self.stray.append(piece[:_KEPT_CHARS])

    def read_line(self, line: str) -> None:
        """Read one line as the next row, or as stray text if it is no row."""
        counted = _COUNT.search(line) is not None
        before_star, star, _ = line.partition("*")
        only = self._resolve(_label_text(before_star)) if star and not counted else None
        if not counted and only is None:
            self.add_stray(line)
            return
        self.rows_found += 1
        if self.rows_found > self.grid:
            return
        row = self.ids[self.rows_found - 1]
        if only is None:
            self._read_row(line, row)
        else:  # "others*x": were it no row, all rows below would move up by one
            row[:] = only
            self._repaired("rows without a count, filled with their first label")

    def _read_row(self, line: str, row: Grid) -> None:
        filled, last, start = 0, 0, 0
        for run in _COUNT.finditer(line):
            count = _parse_count(run[1])
            opening = start == 0 and self.rows_found == 1
            written, start = line[start : run.start()], run.end()
            if count == 0:
                self.events["runs of zero cells, ignored"] += 1
                continue
            if filled < self.grid:
                last = self._label_id(written, opening=opening)
                row[filled : filled + count] = last
            filled += count
            if filled > self.grid:
                self._repaired("rows too long, cropped")
                return
        self.add_stray(line[start:])
        if filled < self.grid:
            row[filled:] = last
            self._repaired("rows too short, filled with their last label")

    def _repaired(self, event: str) -> None:
        self.rows_repaired += 1
        self.events[event] += 1

    def _label_id(self, written: str, *, opening: bool) -> int:
        """Class id of the text before a count, the very first one if `opening`.

        A label can follow prose on its line. What does not end in a label is an unknown label: background.
        """
        label = _label_text(written)
        cut, number = 0, self._resolve(label)
        if number is None:  # "The mask is: others*3" or "building, others*3": read what follows the last mark
            cut = _last_end(_SENTENCE_END, label)
            number = self._resolve(label[cut:].strip())
        if number is None and opening:
            cut, number = self._after_sentence(label)
        if number is None:
            cut = _last_end(_NO_LABEL_MARK, label)
        self.add_stray(label[:cut])
        label = label[cut:].strip()
        if number is None:
            self._unknown(label[:_KEPT_CHARS].strip())
            return 0
        self.known_runs += 1
        if label != self.labels[number]:
            self._respelled(label, self.labels[number])
        return number

    def _unknown(self, label: str) -> None:
        if label_fault(label):
            self.events["runs without a readable label, background"] += 1
        elif len(self.unknown) < _KEPT_LABELS:
            self.unknown.setdefault(normal_label(label), label)

    def _respelled(self, label: str, meant: str) -> None:
        note = f"label {label[:_KEPT_CHARS]!r} read as {meant!r}"
        if note in self.events or len(self.events) < _KEPT_EVENTS:
            self.events[note] += 1

    def _resolve(self, label: str) -> int | None:
        """Class id of a label in any accepted spelling, None if it is unknown."""
        if label not in self.resolved:
            number = self.index.get(label)
            if number is None:
                number = self.index.get(normal_label(label))
            self.resolved[label] = number
        return self.resolved[label]

    def _after_sentence(self, text: str) -> tuple[int, int | None]:
        """Find a label after at least two words of prose without a mark: "the mask is others"."""
        words = list(re.finditer(r"\S+", text))
        for first in range(max(2, len(words) - self.longest_label), len(words)):
            cut = words[first].start()
            number = self._resolve(text[cut:])
            if number is not None:
                return cut, number
        return 0, None


def _label_text(written: str) -> str:
    """The text before a count without the separators that precede it."""
    return LABEL_START.sub("", written).strip()


def _last_end(mark: re.Pattern[str], text: str) -> int:
    """Where the last match of `mark` ends, 0 if there is none."""
    return max((match.end() for match in mark.finditer(text)), default=0)


def _parse_count(digits: str) -> int:
    """The number, or some number beyond every grid: a million digits must not become an integer."""
    return int(digits.lstrip("0")[:7] or "0")
