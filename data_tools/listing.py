"""``python -m data_tools list``: what can be converted, and what of it has been downloaded.

The state of a download is judged by its manifest: one of the usual folder names, and in it something for each
glob pattern the converter needs.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from data_tools.converter import Manifest
from data_tools.registry import converters
from rsunivlm.tasks import Task

ROOT_VARIABLE = "RSUNIVLM_DOWNLOADS"
# Below this width the address of the download is left to `list NAME`, as the details of a licence always are.
_WIDE = 160
# Missing patterns that the table shows of a dataset.
_SHOWN = 3


@dataclass(frozen=True)
class Download:
    """What was found of a dataset.

    Attributes:
        state: found; incomplete; missing; or "own": a layout for a user's data, which has no usual name.
        folder: where it lies, to be given as ``--root``.
        lacking: needed patterns that match nothing in it.
    """

    state: Literal["found", "incomplete", "missing", "own"]
    folder: Path | None = None
    lacking: tuple[str, ...] = ()


def find_download(manifest: Manifest, root: Path) -> Download:
    """Look for a dataset below a common folder of downloads.

    Looked at are folders with one of the dataset's usual names: ``root`` itself, those in it and those one
    level deeper, and what an archive may have nested in them once more.

    Raises:
        ValueError: ``root`` is no folder.
    """
    if not root.is_dir():
        raise ValueError(f"--root {root} is no folder")
    if not manifest.folders:
        return Download("own")
    best: Download | None = None
    for folder in _candidates(manifest, root):
        lacking = tuple(need for need in manifest.needs if not _has(folder, need))
        if not lacking:
            return Download("found", folder)
        if best is None or len(lacking) < len(best.lacking):
            best = Download("incomplete", folder, lacking)
    return best or Download("missing")


def _has(folder: Path, need: str) -> bool:
    return any(any(folder.glob(pattern)) for pattern in need.split("|"))


def _candidates(manifest: Manifest, root: Path) -> Iterator[Path]:
    names = manifest.folders
    parents = [root, *sorted(path for path in root.iterdir() if path.is_dir())]
    named = [parent / name for parent in parents for name in names]
    if root.resolve().name in names:
        named.insert(0, root)
    for folder in named:
        if folder.is_dir():
            yield folder
            yield from sorted(path for path in folder.iterdir() if path.is_dir())


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the sub-command ``list``."""
    parser = subparsers.add_parser("list", help="show what can be converted and what is downloaded")
    parser.add_argument("name", nargs="?", metavar="NAME", help="show all about this dataset")
    parser.add_argument(
        "--root",
        type=Path,
        default=os.environ.get(ROOT_VARIABLE) or None,
        help=f"common folder of the downloads (default: ${ROOT_VARIABLE}, if set)",
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Run the command.

    Raises:
        ValueError: no such dataset, or no such folder.
    """
    manifests = {name: converter.manifest for name, converter in converters().items()}
    if options.name is not None and options.name not in manifests:
        raise ValueError(f"no dataset {options.name!r}; known are {', '.join(manifests)}")
    chosen = list(manifests.values()) if options.name is None else [manifests[options.name]]
    downloads = None if options.root is None else [find_download(one, options.root) for one in chosen]
    if options.json:
        entries = [
            _facts(manifest) | ({} if downloads is None else _state(downloads[number]))
            for number, manifest in enumerate(chosen)
        ]
        print(json.dumps(entries, indent=1))  # noqa: T201
    elif options.name is not None:
        _print_facts(_facts(chosen[0]) | ({} if downloads is None else _state(downloads[0])))
    else:
        console = Console(markup=False)  # globs may hold brackets
        console.print(_table(chosen, downloads, options.root, wide=console.width >= _WIDE))
        console.print("`list NAME` shows address, full terms, layout and notes.", highlight=False)


def _facts(manifest: Manifest) -> dict[str, Any]:
    return {
        "name": manifest.name,
        "title": manifest.title,
        "tasks": [task.value for task in manifest.tasks],
        "experts": [granularity.name.lower() for granularity in manifest.granularities],
        "source": manifest.source,
        "licence": manifest.licence,
        "layout": manifest.layout,
        "needs": list(manifest.needs),
        "folders": list(manifest.folders),
        "counts": dict(manifest.counts),
        "counted_task": manifest.counted_task,
        "options": list(manifest.options),
        "makes_images": manifest.makes_images,
        "notes": manifest.notes,
    }


def _state(download: Download) -> dict[str, Any]:
    folder = None if download.folder is None else str(download.folder)
    return {"state": download.state, "folder": folder, "lacking": list(download.lacking)}


def _print_facts(facts: dict[str, Any]) -> None:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in facts.items():
        if isinstance(value, dict):
            value = _counts(value)
        elif isinstance(value, list):
            value = "  ".join(value)
        elif isinstance(value, bool):
            value = "yes" if value else "no"
        table.add_row(key.replace("_", " "), str(value or "-"))
    Console(markup=False).print(table)


def _table(
    manifests: list[Manifest], downloads: list[Download] | None, root: Path | None, *, wide: bool
) -> Table:
    columns = {
        "name": [manifest.name for manifest in manifests],
        "tasks": [" ".join(manifest.tasks) for manifest in manifests],
        "published questions": [_counts(manifest.counts, manifest.counted_task) for manifest in manifests],
    }
    if downloads is None or wide:
        columns["experts"] = [" ".join(_facts(manifest)["experts"]) for manifest in manifests]
        columns["licence"] = [manifest.licence.partition(";")[0] for manifest in manifests]
    if downloads is not None and root is not None:
        columns["state"] = [download.state for download in downloads]
        columns["folder, and what it lacks"] = [_where(download, root) for download in downloads]
    if wide:
        columns["source"] = [manifest.source for manifest in manifests]
    table = Table(title=None if root is None else f"below {root}")
    for name in columns:
        table.add_column(name, overflow="fold", no_wrap=name in ("name", "state"))
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    return table


def _counts(counts: Mapping[str, int], task: Task | None = None) -> str:
    text = ", ".join(f"{split} {count:,}" for split, count in counts.items())
    return f"{text} ({task})" if text and task else text


def _where(download: Download, root: Path) -> str:
    if download.folder is None:
        return ""
    text = str(download.folder.relative_to(root))
    if download.lacking:
        text += f"; lacks {', '.join(download.lacking[:_SHOWN])}"
    if len(download.lacking) > _SHOWN:
        text += f" and {len(download.lacking) - _SHOWN} more"
    return text
