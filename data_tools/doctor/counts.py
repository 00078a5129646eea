"""Compares numbers: records written with records there, samples made with samples published."""

from __future__ import annotations

from data_tools.converted import ConvertedFile
from data_tools.doctor.findings import Findings, Kind
from data_tools.doctor.folder import Folder
from data_tools.registry import converters


def check_file(folder: Folder, file: ConvertedFile, found: int, findings: Findings) -> None:
    """Compare the number of records of a file with what the conversion wrote."""
    written = file.records
    kind = Kind.RECORDS_MISSING if found < written else Kind.RECORDS_ADDED
    if found != written:
        findings.add(folder.dataset, kind, file.name, f"{found:,} records, {written:,} were written")


def check_files(folder: Folder, findings: Findings) -> None:
    """Look for record files that the last conversion did not write."""
    known = {file.name for file in folder.files}
    for path in sorted([*folder.out.glob("*.jsonl"), *folder.out.glob("training/*.jsonl")]):
        name = path.relative_to(folder.out).as_posix()
        if name not in known:
            findings.add(folder.dataset, Kind.FILE_UNKNOWN, name, "is not named in conversion.json")


def check_published(folder: Folder, findings: Findings) -> None:
    """Compare the samples of each split with the published number.

    Only where that says something: the whole dataset was converted, under its own name (another `--source`
    is a user's own data in the same layout).
    """
    converter = converters().get(folder.converter)
    if converter is None or folder.limited or folder.dataset != folder.converter:
        return
    manifest = converter.manifest
    for split, tasks in folder.samples.items():
        published = manifest.counts.get(split)
        counted = manifest.counted_task
        made = sum(tasks.values()) if counted is None else tasks.get(counted.value, 0)
        if published is not None and made != published:
            what = "questions" if counted is None else f"{counted.value} questions"
            skipped = f" (in the whole conversion: {folder.skipped})" if folder.skipped else ""
            findings.add(
                folder.dataset,
                Kind.COUNT,
                split,
                f"{made:,} {what} here, {published:,} published{skipped}",
            )
