"""Writes a sharded safetensors checkpoint slice by slice: the files are laid out first, then filled.

One of our tensors may come from several foreign files (experts are stacked), and no file should have to be
held in memory. The format allows it: behind the header every tensor has a fixed place, so each slice is
written to where it belongs, in any order. What is never written is zero.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Self

import torch
from huggingface_hub import split_state_dict_into_shards_factory
from torch import Tensor

_NAMES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
INDEX = "model.safetensors.index.json"


class ShardWriter:
    """The weight files of a checkpoint that is being written; a context manager."""

    def __init__(
        self, folder: Path, tensors: Mapping[str, Tensor], max_shard_size: int | str = "5GB"
    ) -> None:
        """Create the files, with headers and full length.

        Args:
            folder: An existing folder.
            tensors: Name -> tensor (on the meta device) of the wanted type and shape.
            max_shard_size: Bytes, or text such as "5GB", that no file exceeds unless one tensor alone does.

        Raises:
            ValueError: `max_shard_size` is no size.
        """
        split = split_state_dict_into_shards_factory(
            dict(tensors),
            get_storage_size=lambda tensor: tensor.nbytes,
            filename_pattern="model{suffix}.safetensors",
            max_shard_size=max_shard_size,
        )
        self.file_names = sorted(split.filename_to_tensors)
        self._places: dict[str, tuple[BinaryIO, int]] = {}
        self._tensors = tensors
        with ExitStack() as opened:
            self._files = [
                opened.enter_context(self._lay_out(folder / name, split.filename_to_tensors[name]))
                for name in self.file_names
            ]
            self._close = opened.pop_all().close
        if split.is_sharded:
            index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
            (folder / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")

    def __enter__(self) -> Self:
        """Nothing more to open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Sync the files to the disk and close them."""
        for file in self._files:
            file.flush()
            os.fsync(file.fileno())
        self._close()

    def write(self, name: str, first: int, values: Tensor) -> None:
        """Write a run of elements.

        Args:
            name: Of the tensor.
            first: Index, in the flattened tensor, of the first element.
            values: Flat tensor; converted to the type of the file.
        """
        file, begin = self._places[name]
        dtype = self._tensors[name].dtype
        content = values.detach().to(dtype).contiguous().view(torch.uint8).numpy()
        file.seek(begin + first * dtype.itemsize)
        file.write(content.data)

    def _lay_out(self, path: Path, names: list[str]) -> BinaryIO:
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        ends = [0]
        for name in names:
            tensor = self._tensors[name]
            ends.append(ends[-1] + tensor.nbytes)
            header[name] = {
                "dtype": _NAMES[tensor.dtype],
                "shape": list(tensor.shape),
                "data_offsets": ends[-2:],
            }
        content = json.dumps(header, separators=(",", ":")).encode()
        content += b" " * (-len(content) % 8)  # tensors begin at multiples of 8
        file = path.open("xb")
        file.write(len(content).to_bytes(8, "little") + content)
        file.truncate(8 + len(content) + ends[-1])
        self._places |= {
            name: (file, 8 + len(content) + end) for name, end in zip(names, ends[:-1], strict=True)
        }
        return file


def sync_to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
