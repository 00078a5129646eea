"""Images that serve both for training and for evaluation: by path, by known file names, by their look.

All folders of one examination are compared with each other, since a leak is as bad between two datasets as
within one. A finding is an error when the evaluation split is a test split; for a validation split, and where
the overlap was asked for (``--include-overlap``), it is a warning.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from data_tools.doctor.findings import Findings, Kind, Severity
from data_tools.doctor.images import ImageTable
from data_tools.identity import PATCHES, Origin, origin
from data_tools.perceptual import Look, Signature, same_pictures


def comparable(table: ImageTable) -> bool:
    """Whether there are training and evaluation images of different splits at all."""
    splits = {
        training: {file.split for _, file in table.files if file.training == training}
        for training in (True, False)
    }
    return any(one != other for one in splits[True] for other in splits[False])


def compared_rows(table: ImageTable) -> list[int]:
    """Rows whose look `find_leaks` needs: all that can be opened, where there is something to find."""
    return [row for row in range(len(table)) if row not in table.broken] if comparable(table) else []


def find_leaks(table: ImageTable, signatures: dict[int, Signature], findings: Findings) -> None:
    """Report every training image that is an evaluation image too.

    Args:
        table: all images.
        signatures: look of the images that could be decoded, by row.
        findings: where to report; one finding per training image.
    """
    reported = _same_file(table, findings)
    reported |= _same_look(table, signatures, findings, reported)
    _known_kin(table, signatures, findings, reported)


def _same_file(table: ImageTable, findings: Findings) -> set[int]:
    found = set()
    for row in table.used(training=True):
        if split := table.leak(row, row):
            _report(table, findings, Kind.SHARED_IMAGE, row, row, split, "one file")
            found.add(row)
    return found


def _same_look(
    table: ImageTable, signatures: dict[int, Signature], findings: Findings, reported: set[int]
) -> set[int]:
    rows = sorted(signatures)
    if not rows:
        return set()
    look = Look.of([signatures[row] for row in rows])
    for number in np.flatnonzero(look.plain()).tolist():
        row = rows[number]
        findings.add(
            table.folder(row).dataset, Kind.NOT_COMPARED, table.paths[row], "shows one shade of grey"
        )
    number_of = {row: number for number, row in enumerate(rows)}
    trained, evaluated = (
        np.array([number_of[row] for row in table.used(training=training) if row in number_of], np.int64)
        for training in (True, False)
    )
    found: set[int] = set()
    for one, other, bits in same_pictures(look, trained, evaluated):
        row, twin = rows[one], rows[other]
        split = table.leak(row, twin)
        if split and row not in reported | found:
            kin = origin(table.folder(row).dataset, table.paths[row])
            known = kin and kin == origin(table.folder(twin).dataset, table.paths[twin])
            why = f"{bits} of 64 bits of their hashes differ"
            _report(
                table,
                findings,
                Kind.DUPLICATE_IMAGE,
                row,
                twin,
                split,
                f"both are {_named(kin)}; {why}" if known and kin else why,
            )
            found.add(row)
    return found


def _known_kin(
    table: ImageTable, signatures: dict[int, Signature], findings: Findings, reported: set[int]
) -> None:
    evaluated: dict[Origin, list[int]] = {}
    for row in table.used(training=False):
        if kin := origin(table.folder(row).dataset, table.paths[row]):
            evaluated.setdefault(kin, []).append(row)
    for row in table.used(training=True) if evaluated else ():
        kin = origin(table.folder(row).dataset, table.paths[row])
        if row in reported or not kin:
            continue
        for twin, split in _spoilt(table, row, evaluated.get(kin, [])):
            certain, why = _judge(table, signatures, row, twin)
            severity = None if certain else Severity.WARNING
            _report(
                table, findings, Kind.KNOWN_KIN, row, twin, split, f"both are {_named(kin)}{why}", severity
            )
            break


def _spoilt(table: ImageTable, row: int, twins: list[int]) -> Iterator[tuple[int, str]]:
    # Test splits first: they decide how bad it is.
    found = [(twin, split) for twin in twins if twin != row and (split := table.leak(row, twin))]
    yield from sorted(found, key=lambda pair: (not pair[1].startswith("test"), pair[0]))


def _judge(table: ImageTable, signatures: dict[int, Signature], row: int, twin: int) -> tuple[bool, str]:
    """Whether two images of equal origin but different look do share ground for certain, and a remark."""
    cut = [table.folder(number).dataset in PATCHES for number in (row, twin)]
    if all(cut):
        return False, ", in patches that need not overlap"
    if any(cut):
        return True, ", one of them a patch"
    if row in signatures and twin in signatures:
        return False, " by name, but their pixels differ"
    return True, " by name"


def _report(
    table: ImageTable,
    findings: Findings,
    kind: Kind,
    row: int,
    twin: int,
    split: str,
    why: str,
    severity: Severity | None = None,
) -> None:
    folder, other = table.folder(row), table.folder(twin)
    if not split.startswith("test") or folder.include_overlap:
        severity = Severity.WARNING
    asked = "; --include-overlap asked for it" if folder.include_overlap else ""
    whose = "" if folder is other else f" of {other.dataset}"
    findings.add(
        folder.dataset,
        kind,
        table.paths[row],
        f"trained on ({table.place(row, training=True)}) and evaluated in {split} "
        f"as {table.paths[twin]}{whose} ({table.place(twin, training=False)}): {why}{asked}",
        severity,
    )


def _named(kin: Origin) -> str:
    return f"{kin[0]}'s {kin[1]}"
