"""Checkpoints to resume from: complete or absent, and never those of another run.

A checkpoint is a folder `step-<n>` with everything the Trainer (or DeepSpeed) needs to go on, and a manifest
of its files. It is written aside, every file is synced to the disk, the manifest comes last; then the folder
gets its name, and only then `latest` points to it. A process that dies at any moment leaves the earlier
checkpoints as they were. Readers trust a folder only if its manifest names every file with size and SHA-256.

The manifest also holds the run's *identity*: whatever decides which samples come in which order and what is
computed with them. Resuming with another identity would be a new run in the guise of the old one, so it is
refused.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rsunivlm.data.dataset import RunSamples
from rsunivlm.data.mixtures import Mixture
from rsunivlm.models.checkpoints.writing import sync_to_disk
from rsunivlm.training.recipe import Recipe

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
# Settings that may change between two starts of a run: they change no sample, no order and no weight.
_FREE = frozenset(
    (
        *("name", "prepare", "output", "overwrite", "workers", "max_bad_images", "save_dtype", "resume"),
        *("measures", "log_every", "log_to", "save_every", "checkpoint_every", "keep_checkpoints"),
    )
)


def binding_settings(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide what a run computes.

    Args:
        recipe: A recipe's fields.
    """
    return {key: value for key, value in recipe.items() if key not in _FREE}


def run_identity(recipe: Recipe, mixture: Mixture, samples: RunSamples, processes: int) -> dict[str, Any]:
    """Whatever must be equal for a run to be resumed, as JSON has it.

    Args:
        recipe: The run.
        mixture: What it trains on.
        samples: Its samples or packs in order.
        processes: Training processes.
    """
    data = hashlib.sha256()
    for dataset in mixture.datasets:
        with dataset.records.path.open("rb") as file:
            data.update(hashlib.file_digest(file, "sha256").digest())
    for position in range(len(samples)):
        data.update(samples.rows(position).tobytes())
        data.update(b";")
    identity = binding_settings(dataclasses.asdict(recipe))
    if recipe.deepspeed:
        identity["deepspeed"] = Path(recipe.deepspeed).read_text(encoding="utf-8")
    identity |= {"processes": processes, "records and their order": data.hexdigest()}
    return json.loads(json.dumps(identity))


class CheckpointStore:
    """The checkpoints of one run, in a folder that all its processes share."""

    def __init__(self, folder: Path, identity: Mapping[str, Any], keep: int) -> None:
        """Open the store; nothing is created before the first checkpoint.

        Args:
            folder: Where the checkpoints lie.
            identity: See `run_identity`.
            keep: How many checkpoints stay.
        """
        self.folder = folder
        self.identity = identity
        self.keep = keep

    @property
    def partial(self) -> Path:
        """Where a checkpoint is written before it is complete."""
        return self.folder / "partial"

    def newest(self) -> Path | None:
        """The newest complete checkpoint, or None.

        Raises:
            ValueError: It belongs to a run with other settings or data; names what differs.
        """
        for checkpoint in sorted(self.folder.glob("step-*"), reverse=True):
            manifest = _read_manifest(checkpoint)
            if manifest is None:
                continue
            if differing := _differences(manifest["identity"], self.identity):
                raise ValueError(
                    f"{self.folder} holds an interrupted run that cannot be resumed: {'; '.join(differing)}. "
                    "Start it as before, or set resume=false to start afresh"
                )
            if damaged := _damaged(checkpoint, manifest["files"]):
                logger.warning("%s is damaged (%s); taking an older one", checkpoint, damaged)
                continue
            return checkpoint
        return None

    def prepare(self) -> None:
        """Remove what an interrupted write has left."""
        shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.mkdir(parents=True)

    def sync(self, written: Path, rank: int = 0, processes: int = 1) -> dict[str, list[Any]]:
        """Sync one process's share of the files to the disk.

        Args:
            written: Folder below `partial`.
            rank: This process.
            processes: All of them.

        Returns:
            Name -> size in bytes and SHA-256.
        """
        entries = {}
        for path in sorted(path for path in written.rglob("*") if path.is_file())[rank::processes]:
            sync_to_disk(path)
            entries[path.relative_to(written).as_posix()] = _size_and_digest(path)
        return entries

    def seal(self, written: Path, step: int, shares: Sequence[Mapping[str, list[Any]]]) -> None:
        """Make a written checkpoint the newest one; the oldest ones go.

        Args:
            written: Folder below `partial`.
            step: Optimizer steps it has behind it.
            shares: What `sync` returned in each process.
        """
        files = {name: entry for share in shares for name, entry in share.items()}
        manifest = {"step": step, "identity": self.identity, "files": files}
        (written / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        sync_to_disk(written / MANIFEST)
        for folder in [path for path in written.rglob("*") if path.is_dir()] + [written]:
            sync_to_disk(folder)
        final = self.folder / f"step-{step:08}"
        shutil.rmtree(final, ignore_errors=True)  # damaged, or the run would have resumed from it
        os.replace(written, final)
        sync_to_disk(self.folder)
        link = self.partial / "latest"
        link.symlink_to(final.name)
        os.replace(link, self.folder / "latest")
        for old in sorted(self.folder.glob("step-*"))[: -self.keep]:
            shutil.rmtree(old)

    def discard_partial(self) -> None:
        """Remove what is not complete, and the folder if nothing else is in it."""
        shutil.rmtree(self.partial, ignore_errors=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def clear(self) -> None:
        """Remove all checkpoints."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _read_manifest(checkpoint: Path) -> dict[str, Any] | None:
    try:
        return json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there, or not whole: the folder is no checkpoint
        return None


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    differing = []
    for key in sorted({*then, *now}):
        old, new = then.get(key, "unknown"), now.get(key, "unknown")
        if old != new:
            values = f"{key} was {old!r}, is {new!r}"
            differing.append(values if len(values) < 120 else f"{key} differs")
    return differing


def _damaged(checkpoint: Path, files: Mapping[str, Sequence[Any]]) -> str | None:
    """Name of a file that is not what the manifest says."""
    for name, (size, digest) in files.items():
        path = checkpoint / name
        if not path.is_file() or path.stat().st_size != size or _size_and_digest(path)[1] != digest:
            return name
    return None


def _size_and_digest(path: Path) -> list[Any]:
    with path.open("rb") as file:
        return [path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()]
