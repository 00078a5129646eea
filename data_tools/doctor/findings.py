"""What the doctor can find, how bad each is, and what mends it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

# Findings of one kind kept per dataset; the rest is only counted, so that a broken folder costs no memory.
KEPT = 1000


class Severity(IntEnum):
    """How bad a finding is; only errors change the exit code."""

    NOTE = 0
    WARNING = 1
    ERROR = 2


class Kind(StrEnum):
    """What can be wrong."""

    FILE_MISSING = "record file missing"
    FILE_UNKNOWN = "record file of another conversion"
    RECORDS_MISSING = "records missing"
    RECORDS_ADDED = "records added"
    COUNT = "count differs from the published one"
    BAD_RECORD = "invalid record"
    DUPLICATE_ID = "duplicate id"
    NO_TRUTH = "truth missing"
    ANSWER = "answer differs from the truth"
    OUTSIDE = "path leads outside the image root"
    IMAGE_MISSING = "image missing"
    IMAGE_EMPTY = "image of 0 bytes"
    IMAGE_UNREADABLE = "image unreadable"
    IMAGE_DAMAGED = "image damaged"
    IMAGE_SIZE = "image size differs"
    PAIR_SIZES = "pair of two sizes"
    BOX_REVERSED = "box reversed"
    BOX_OUTSIDE = "box beyond the frame"
    BOX_TEXT = "box in the text differs"
    MASK_MISSING = "mask missing"
    MASK_UNREADABLE = "mask unreadable"
    MASK_SIZE = "mask size differs"
    MASK_LABEL = "unknown label in a mask's text"
    MASK_TEXT = "malformed text of a mask"
    MASK_DIFFERS = "mask in the text differs"
    MASK_VALUE = "unknown value in a mask"
    SHARED_IMAGE = "same file in training and evaluation"
    DUPLICATE_IMAGE = "same picture in training and evaluation"
    KNOWN_KIN = "same source picture in training and evaluation"
    NOT_COMPARED = "too plain to compare"

    @property
    def severity(self) -> Severity:
        """How bad it is as a rule."""
        return _SEVERITIES.get(self, Severity.ERROR)

    @property
    def mend(self) -> str:
        """What to do about it."""
        return _MENDS[self]


_SEVERITIES = {
    Kind.FILE_UNKNOWN: Severity.WARNING,
    Kind.COUNT: Severity.WARNING,
    Kind.NOT_COMPARED: Severity.NOTE,
}

_AGAIN = "convert the dataset again"
_IMAGE = "restore the file from the download, then convert again"
_TRUTH = "someone edited the record: convert again"
_LEAK = "leave the image out of training (`mix` leaves known kin out), or do not score on this evaluation set"
_MENDS = {
    Kind.FILE_MISSING: _AGAIN,
    Kind.FILE_UNKNOWN: "remove it, or convert all splits in one run: conversion.json describes the last one",
    Kind.RECORDS_MISSING: f"the file was cut: {_AGAIN}",
    Kind.RECORDS_ADDED: f"lines were added by hand: {_AGAIN}, and keep your own records in another folder",
    Kind.COUNT: "complete the download, or keep in mind that scores compare only on the published set",
    Kind.BAD_RECORD: f"the line was cut or edited: {_AGAIN}",
    Kind.DUPLICATE_ID: "remove the second record or give it an id of its own; predictions are matched by id",
    Kind.NO_TRUTH: "fill in the targets that docs/data.md asks for, or convert again",
    Kind.ANSWER: _TRUTH,
    Kind.OUTSIDE: "use a path below the image root, and no symbolic links that lead out of it",
    Kind.IMAGE_MISSING: _IMAGE,
    Kind.IMAGE_EMPTY: _IMAGE,
    Kind.IMAGE_UNREADABLE: _IMAGE,
    Kind.IMAGE_DAMAGED: _IMAGE,
    Kind.IMAGE_SIZE: "the image was exchanged or resized after conversion: restore it, or convert again",
    Kind.PAIR_SIZES: "restore both images of the pair at their common size",
    Kind.BOX_REVERSED: _TRUTH,
    Kind.BOX_OUTSIDE: _TRUTH,
    Kind.BOX_TEXT: "the text teaches another box than the truth: convert again",
    Kind.MASK_MISSING: _IMAGE,
    Kind.MASK_UNREADABLE: _IMAGE,
    Kind.MASK_SIZE: "the mask does not belong to the image or was resized: restore it",
    Kind.MASK_LABEL: "the text names a class that the question does not ask for: convert again",
    Kind.MASK_TEXT: "the text is no complete grid of the codec in conversion.json: convert again",
    Kind.MASK_DIFFERS: "the mask file changed after conversion, or the text was edited: convert again",
    Kind.MASK_VALUE: "restore the mask (a lossy copy?), or name the value's class and convert again",
    Kind.SHARED_IMAGE: _LEAK,
    Kind.DUPLICATE_IMAGE: _LEAK,
    Kind.KNOWN_KIN: _LEAK,
    Kind.NOT_COMPARED: "nothing to do; look at them if the number surprises you",
}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: what.
        place: path of an image or mask below the image root, or file and line as ``vg_test.jsonl:12``.
        detail: the particulars, in words.
        dataset: whose.
        severity: how bad.
    """

    kind: Kind
    place: str
    detail: str
    dataset: str = ""
    severity: Severity = Severity.NOTE

    def to_json(self) -> dict[str, str]:
        """Everything including the mend, as plain JSON values."""
        return {
            "severity": self.severity.name.lower(),
            "kind": self.kind.value,
            "dataset": self.dataset,
            "place": self.place,
            "detail": self.detail,
            "mend": self.kind.mend,
        }


@dataclass
class Findings:
    """All findings, counted; at most `KEPT` of a kind and dataset are kept.

    Attributes:
        kept: the findings in order.
        counts: number of findings by (severity, dataset, kind), kept or not.
    """

    kept: list[Finding] = field(default_factory=list)
    counts: Counter[tuple[Severity, str, Kind]] = field(default_factory=Counter)
    _seen: set[int] = field(default_factory=set)

    def add(
        self, dataset: str, kind: Kind, place: str, detail: str, severity: Severity | None = None
    ) -> None:
        """Add a finding; the same kind at the same place counts once (an image serves many records)."""
        key = hash((dataset, kind, place))
        if key in self._seen:
            return
        self._seen.add(key)
        severity = kind.severity if severity is None else severity
        self.counts[severity, dataset, kind] += 1
        if self.counts[severity, dataset, kind] <= KEPT:
            self.kept.append(Finding(kind, place, detail, dataset, severity))

    def total(self, severity: Severity) -> int:
        """Number of findings of a severity."""
        return sum(count for (found, _, _), count in self.counts.items() if found == severity)

    @property
    def sound(self) -> bool:
        """Whether there is no error."""
        return self.total(Severity.ERROR) == 0
