"""Shows an examination: as text, as JSON, as a page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from data_tools.doctor.examination import Examination
from data_tools.doctor.findings import Finding, Kind, Severity
from data_tools.pages import page, text

_SHOWN = 3  # findings of a kind in the terminal
_LISTED = 200  # on the page
_COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}
_STYLE = """
.error { color: #c62828; } .warning { color: #b26a00; } .note { color: #00707a; }
summary { cursor: pointer; margin: .6rem 0 .2rem; }
"""


def verdict(exam: Examination) -> str:
    """One line: what was looked at and how it is."""
    numbers = [f"{exam.findings.total(severity):,} {severity.name.lower()}s" for severity in _worst_first()]
    looked = f"{sum(exam.records.values()):,} records and {sum(exam.images.values()):,} images"
    decoded = f", {exam.decoded:,} decoded{' in full' if exam.deep else ''}"
    return f"{'sound' if exam.findings.sound else 'NOT SOUND'}: {', '.join(numbers)} in {looked}{decoded}"


def print_report(exam: Examination, console: Console) -> None:
    """Print the findings by kind, with the first of each, and the verdict."""
    table = Table("dataset", "records", "images", "folder")
    for folder in exam.folders:
        numbers = (f"{exam.records[folder.dataset]:,}", f"{exam.images[folder.dataset]:,}")
        table.add_row(Text(folder.dataset), *numbers, Text(str(folder.out)))
    console.print(table)
    for severity, dataset, kind, count, findings in _groups(exam):
        heading = Text(f"{severity.name.lower()}: ", style=f"bold {_COLOURS[severity]}")
        console.print(heading + Text(f"{dataset}: {kind.value} ({count:,})", style="bold"))
        for finding in findings[:_SHOWN]:
            console.print(Text(f"  {finding.place}: {finding.detail}"))
        if count > _SHOWN:
            console.print(Text(f"  ... and {count - _SHOWN:,} more"))
        console.print(Text(f"  -> {kind.mend}", style="italic"))
    console.print(Text(verdict(exam), style="bold green" if exam.findings.sound else "bold red"))


def to_json(exam: Examination) -> dict[str, Any]:
    """Everything, as plain JSON values; of each kind and dataset at most the first `KEPT` findings."""
    return {
        "sound": exam.findings.sound,
        "deep": exam.deep,
        "folders": [
            {
                "dataset": folder.dataset,
                "converter": folder.converter,
                "folder": str(folder.out),
                "images_root": str(folder.images),
                "records": exam.records[folder.dataset],
                "images": exam.images[folder.dataset],
            }
            for folder in exam.folders
        ],
        "decoded": exam.decoded,
        "counts": [
            {"severity": severity.name.lower(), "dataset": dataset, "kind": kind.value, "count": count}
            for severity, dataset, kind, count, _ in _groups(exam)
        ],
        "findings": [finding.to_json() for finding in exam.findings.kept],
    }


def to_page(exam: Examination) -> str:
    """The report as an HTML page that stands alone."""
    rows = "".join(
        f"<tr><td>{text(folder.dataset)}</td><td class=number>{exam.records[folder.dataset]:,}</td>"
        f"<td class=number>{exam.images[folder.dataset]:,}</td><td><code>{text(folder.out)}</code></td></tr>"
        for folder in exam.folders
    )
    body = [
        f"<p><b class={'note' if exam.findings.sound else 'error'}>{text(verdict(exam))}</b></p>",
        "<table><tr><th>dataset</th><th>records</th><th>images</th><th>folder</th></tr>" + rows + "</table>",
    ]
    for severity, dataset, kind, count, findings in _groups(exam):
        name = severity.name.lower()
        entries = "".join(
            f"<tr><td><code>{text(finding.place)}</code></td><td>{text(finding.detail)}</td></tr>"
            for finding in findings[:_LISTED]
        )
        more = f"<p class=faint>... and {count - _LISTED:,} more</p>" if count > _LISTED else ""
        body.append(
            f"<details{' open' if severity is Severity.ERROR else ''}><summary><b class={name}>{name}</b> "
            f"{text(dataset)}: {text(kind.value)} ({count:,})</summary><p>Mend: {text(kind.mend)}.</p>"
            f"<table><tr><th>place</th><th>what</th></tr>{entries}</table>{more}</details>"
        )
    return page("Doctor's report", "\n".join(body), _STYLE)


def _worst_first() -> list[Severity]:
    return sorted(Severity, reverse=True)


def _groups(exam: Examination) -> Iterator[tuple[Severity, str, Kind, int, list[Finding]]]:
    """Findings of one severity, dataset and kind, the worst first, then as met."""
    kept: dict[tuple[Severity, str, Kind], list[Finding]] = {}
    for finding in exam.findings.kept:
        kept.setdefault((finding.severity, finding.dataset, finding.kind), []).append(finding)
    for severity in _worst_first():
        for (found, dataset, kind), count in exam.findings.counts.items():
            if found == severity:
                yield severity, dataset, kind, count, kept[found, dataset, kind]
