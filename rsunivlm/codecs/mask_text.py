"""Masks as text: the dialects, the labels they can spell, and the writer of a grid of class ids.

A language model cannot draw, but it can spell a coarse mask row by row: ``others*1, building*2`` says one
cell of background and two of building. Two dialects of this are in use, and they do not read each other:

- ``rsunivlm`` (Liu and Lian, "RSUniVLM", 2024; the released weights speak it)::

      others*4
      others*1, building*2, others*1

- ``text4seg`` (Lan et al., "Text4Seg: Reimagining Image Segmentation as Text Generation", 2024)::

      <seg>others *4
       others *1| white dog *2| others *1
      </seg>

The writer is canonical: neighbouring runs differ and no count is zero, so a grid has exactly one text. The
reader is in `mask_reader`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

OPENING, CLOSING = re.compile("<seg>", re.IGNORECASE), re.compile("</seg>", re.IGNORECASE)
LABEL_START = re.compile(r"^[\s,;|]+")  # what may stand between a count and the next label
EDGE_MARKS = " .,;:!?\"'`"  # at the edge of a label they are punctuation, not spelling
_HYPHENS = re.compile(r"[-_\u2010-\u2015\s]+")


@dataclass(frozen=True)
class Dialect:
    """The fixed marks of one way to spell a grid: ``opening run between run ... new_row ... closing``."""

    before_count: str
    between_runs: str
    between_rows: str
    opening: str = ""
    closing: str = ""


DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        "rsunivlm": Dialect("*", ", ", "\n"),
        "text4seg": Dialect(" *", "| ", "\n ", "<seg>", "\n</seg>"),
    }
)


def normal_label(label: str) -> str:
    """Spelling under which labels are compared: case, hyphens, underscores and edge marks do not count."""
    return _HYPHENS.sub(" ", label.casefold()).strip(EDGE_MARKS)


def check_labels(labels: Sequence[str], background: str) -> None:
    """Make sure that `labels` can be written and told apart.

    Raises:
        ValueError: no labels, the first is not the background, two read alike, or one has a character that
            the dialects use for themselves.
    """
    if not labels or labels[0] != background:
        raise ValueError(f"labels must begin with the background label {background!r}, got {list(labels)!r}")
    seen: dict[str, str] = {}
    for label in labels:
        if fault := label_fault(label):
            raise ValueError(f"label {label!r} {fault}")
        plain = normal_label(label)
        if plain in seen:
            raise ValueError(f"labels {seen[plain]!r} and {label!r} read alike: rename one of them")
        seen[plain] = label


def label_fault(label: str) -> str | None:
    """What keeps `label` from being written and read back, with the mend; None if it is fine."""
    if any(mark in label for mark in "*|\n\r") or OPENING.search(label) or CLOSING.search(label):
        return "holds '*', '|', a line break or a <seg> mark: rename it"
    if LABEL_START.match(label[:1]) or LABEL_START.match(label[-1:]):
        return "begins or ends with white space, ',' or ';': strip it"
    if not normal_label(label):
        return "has nothing but punctuation: rename it"
    return None


def write_grid(grid_ids: npt.NDArray[np.integer], labels: Sequence[str], dialect: Dialect) -> str:
    """Spell a [rows, columns] grid of indices into `labels`; the text is unique for the grid."""
    rows = []
    for row in grid_ids:
        starts = np.flatnonzero(np.concatenate([[True], row[1:] != row[:-1]]))
        counts = np.diff(starts, append=len(row))
        runs = (
            f"{labels[label]}{dialect.before_count}{count}"
            for label, count in zip(row[starts].tolist(), counts.tolist(), strict=True)
        )
        rows.append(dialect.between_runs.join(runs))
    return dialect.opening + dialect.between_rows.join(rows) + dialect.closing
