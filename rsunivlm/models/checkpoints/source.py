"""What a conversion reads: the tensors of one or two foreign folders, and their configurations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rsunivlm.models.checkpoints.files import StoredTensor, holds_weights, read_json, read_tensors


class Source:
    """The tensors of all folders (or files) that a conversion reads, and the `config.json` beside each."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Read headers and configurations.

        Args:
            paths: Folders or weight files. One folder without weights, but with two folders that have some,
                stands for these two.

        Raises:
            ValueError: See `read_tensors`; or two sources hold a tensor of the same name.
        """
        if len(paths) == 1 and paths[0].is_dir() and not holds_weights(paths[0]):
            inside = sorted(path for path in paths[0].iterdir() if path.is_dir() and holds_weights(path))
            paths = inside if len(inside) == 2 else paths
        self.paths = tuple(paths)
        self.tensors: dict[str, StoredTensor] = {}
        self._configs: dict[Path, dict[str, Any]] = {}
        for path in paths:
            found = read_tensors(path)
            if twice := set(found) & set(self.tensors):
                raise ValueError(
                    f"{path} and another source both hold {min(twice)}; give one vision model "
                    "and one language model"
                )
            self.tensors |= found
            folder = path if path.is_dir() else path.parent
            config = folder / "config.json"
            self._configs[folder] = read_json(config) if config.is_file() else {}

    def config_of(self, name: str) -> tuple[Path, dict[str, Any]]:
        """Path and content of the `config.json` beside a tensor; empty where there is none."""
        folder = self.tensors[name].file.parent
        return folder / "config.json", self._configs[folder]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor.

        Raises:
            ValueError: There is none of this name.
        """
        if name not in self.tensors:
            raise ValueError(f"{self} lacks {name}; copy the checkpoint again")
        return self.tensors[name].shape

    def rows(self, name: str) -> int:
        """First size of a matrix.

        Raises:
            ValueError: There is none of this name, or it is no matrix, or empty.
        """
        shape = self.shape(name)
        if len(shape) != 2 or 0 in shape:
            raise ValueError(f"{self}: {name} has shape {shape}; a matrix belongs there")
        return shape[0]

    def prefixes(self, suffix: str) -> list[str]:
        """What stands before a suffix, for each name that ends with it."""
        pattern = re.compile(rf"(?:(.*)\.)?{re.escape(suffix)}")
        found = [match for name in self.tensors if (match := pattern.fullmatch(name))]
        return [f"{match[1]}." if match[1] else "" for match in found]

    def prefix(self, suffix: str) -> str:
        """What stands before a suffix that exactly one name ends with.

        Raises:
            ValueError: None or several do.
        """
        found = self.prefixes(suffix)
        if len(found) != 1:
            raise ValueError(f"{self} holds {len(found)} tensors {suffix}, not one; this is no known layout")
        return found[0]

    def count(self, prefix: str) -> int:
        """How many numbers stand behind a prefix: layers, blocks, experts.

        Raises:
            ValueError: They are not 0, 1, 2, ...
        """
        pattern = re.compile(re.escape(prefix) + r"(\d{1,6})\.")
        numbers = {int(match[1]) for name in self.tensors if (match := pattern.match(name))}
        if numbers != set(range(len(numbers))):
            missing = min(set(range(len(numbers))) - numbers)
            raise ValueError(f"{self} lacks {prefix}{missing}; copy all shards")
        return len(numbers)

    def __str__(self) -> str:
        return " and ".join(str(path) for path in self.paths)
