"""Image embeddings on disk, for training that leaves vision tower and connector as they are.

Stage 2 trains the experts only. What tower and connector make of an image never changes then, so it is
computed once, before training, and read from one memory-mapped file afterwards: no decoding, no resizing, no
tower. The file is filled before the first step, so that a run that is resumed reads the very numbers that the
undisturbed run read.

A file belongs to one tower, connector, preprocessing and list of images; its name is their hash. It holds
bfloat16 [N, S, D]: 1.3 MB an image at the published size.

Shapes: N images, S tokens an image, D hidden.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

ImageKey = tuple[str, str]  # image root, path relative to it


@dataclass(frozen=True)
class FeatureFile:
    """Embeddings of a list of images.

    Attributes:
        path: The file; `path` + ".rows" beside it says which rows are written.
        rows: Row of each image.
        shape: N, S, D.
    """

    path: Path
    rows: dict[ImageKey, int]
    shape: tuple[int, int, int]

    @classmethod
    def plan(
        cls, folder: Path, owner: str, images: Sequence[ImageKey], size: tuple[int, int], limit_gb: float
    ) -> FeatureFile:
        """Name the file for as many of the images as the limit allows, the first ones first.

        Args:
            folder: Where feature files lie.
            owner: Hash of whatever makes the embeddings.
            images: Distinct images in the order in which training meets them.
            size: S and D.
            limit_gb: Largest size of the file in gigabytes.
        """
        per_image = 2 * size[0] * size[1]
        kept = list(images)[: int(limit_gb * 1e9) // per_image]
        digest = hashlib.sha256(json.dumps([owner, size, [_stamp(key) for key in kept]]).encode())
        path = folder / f"{digest.hexdigest()[:16]}.bin"
        return cls(path, {key: row for row, key in enumerate(kept)}, (len(kept), *size))

    def create(self) -> None:
        """Make the file at its full size (sparse), unless it is there."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for path, size in ((self.path, 2 * int(np.prod(self.shape))), (self._written, self.shape[0])):
            if not path.exists():
                partial = path.with_name(f".{path.name}.{os.getpid()}")
                with partial.open("wb") as file:
                    file.truncate(size)
                os.replace(partial, path)

    def missing(self) -> list[ImageKey]:
        """Images whose row is not written yet, in order."""
        written = np.fromfile(self._written, np.uint8)
        return [key for key, row in self.rows.items() if not written[row]]

    def write(self, keys: Sequence[ImageKey], embeddings_nSD: torch.Tensor) -> None:
        """Write rows, then note that they are there."""
        rows = [self.rows[key] for key in keys]
        values = np.memmap(self.path, np.int16, "r+", shape=self.shape)
        values[rows] = embeddings_nSD.detach().to("cpu", torch.bfloat16).view(torch.int16).numpy()
        values.flush()
        written = np.memmap(self._written, np.uint8, "r+")
        written[rows] = 1
        written.flush()

    def read(self, keys: Sequence[ImageKey]) -> torch.Tensor | None:
        """Embeddings [n, S, D] in bfloat16; None where one of the images is not among those kept."""
        if any(key not in self.rows for key in keys):
            return None
        values = np.memmap(self.path, np.int16, "r", shape=self.shape)
        return torch.from_numpy(values[[self.rows[key] for key in keys]]).view(torch.bfloat16)

    @property
    def _written(self) -> Path:
        return self.path.with_name(self.path.name + ".rows")


def _stamp(key: ImageKey) -> list[object]:
    """What tells an image from a changed one of the same name."""
    path = Path(*key)
    if not path.is_file():
        return [*key, None, None]  # said when it is opened
    status = path.stat()
    return [*key, status.st_size, status.st_mtime_ns]
