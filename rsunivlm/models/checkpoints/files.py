"""Where the tensors of a foreign checkpoint lie on disk: file, offset, type and shape, nothing loaded.

A checkpoint of 3 GB is converted by copying ranges of bytes, so reading it means finding them. safetensors
files say so in their header; of a PyTorch `.bin` (a zip archive) torch tells it with `weights_only`, which
refuses code in pickles. Files come from strangers: names in an index stay in their folder, headers are
checked by the safetensors library before they are believed, sizes are bounded before anything is read.

Sources of the formats: https://huggingface.co/docs/safetensors (header length, JSON, bytes);
https://docs.pytorch.org/docs/stable/notes/serialization.html (offsets under `FakeTensorMode`).
"""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

CHUNK = 16 * 2**20  # bytes held at a time
JSON_LIMIT = 32 * 2**20  # an index of a thousand tensors has 0.1 MB
_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
# Kept only to be ignored: position numbers.
_DTYPES |= {"I64": torch.int64, "I32": torch.int32}
# All that unpickling raises for changed bytes, besides UnpicklingError (found by changing bytes).
_UNPICKLING = (
    *(OSError, EOFError, RuntimeError, ValueError, TypeError, LookupError, AttributeError),
    *(ArithmeticError, AssertionError, MemoryError),
)
# (index, single file), in the order in which they are looked for.
_NAMES = (
    ("model.safetensors.index.json", "model.safetensors"),
    ("pytorch_model.bin.index.json", "pytorch_model.bin"),
)
_PATTERNS = ("*.safetensors", "pytorch_model*.bin")


@dataclass(frozen=True)
class StoredTensor:
    """A tensor on disk: contiguous, little-endian, row by row.

    Attributes:
        file: The file that holds it.
        offset: Its first byte there.
        dtype: Type of its elements.
        shape: Its shape.
    """

    file: Path
    offset: int
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.numel * self.dtype.itemsize

    def chunks(self) -> Iterator[Tensor]:
        """The elements in order, as flat tensors of at most `CHUNK` bytes; each is valid until the next.

        Raises:
            ValueError: The file became shorter while it was read.
        """
        buffer = bytearray(min(CHUNK, self.nbytes))
        with self.file.open("rb", buffering=0) as file:
            file.seek(self.offset)
            left = self.nbytes
            while left:
                view = memoryview(buffer)[: min(left, CHUNK)]
                read = 0
                while read < len(view):
                    count = file.readinto(view[read:])
                    if not count:
                        raise ValueError(f"{self.file} ends in the middle of a tensor; copy it again")
                    read += count
                yield torch.frombuffer(view, dtype=self.dtype)
                left -= len(view)


def read_tensors(source: Path) -> dict[str, StoredTensor]:
    """Find all tensors of a checkpoint.

    Args:
        source: A folder (one file, shards with an index, or shards alone) or one weight file.

    Returns:
        Name -> place, in the order of files and offsets.

    Raises:
        ValueError: There are no weights, or a file is missing, damaged, malicious or contradicts another.
    """
    tensors: dict[str, StoredTensor] = {}
    files, listed = _weight_files(source)
    for file in files:
        found = _read_bin(file) if file.suffix == ".bin" else _read_safetensors(file)
        if twice := sorted(set(found) & set(tensors)):
            other = tensors[twice[0]].file.name
            raise ValueError(f"{file}: tensor {twice[0]} is in {other} too; leave one copy of the weights")
        tensors |= dict(sorted(found.items(), key=lambda item: item[1].offset))
    for name, file_name in listed.items():
        if name not in tensors or tensors[name].file.name != file_name:
            raise ValueError(
                f"{source}: the index says that {name} is in {file_name}, but it is not; copy them again"
            )
    if not tensors:
        raise ValueError(f"{source} holds no tensors")
    return tensors


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ValueError: The file is not there, too large, no JSON, or no object.
    """
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    if path.stat().st_size > JSON_LIMIT:
        raise ValueError(f"{path} is larger than {JSON_LIMIT >> 20} MiB; this is no file of a checkpoint")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as JSON ({error}); copy it again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object, not {type(content).__name__}")
    return content


def holds_weights(folder: Path) -> bool:
    """Whether a folder has weight files of its own."""
    return any(any(folder.glob(pattern)) for pattern in _PATTERNS)


def _weight_files(source: Path) -> tuple[list[Path], Mapping[str, str]]:
    """The files to read, and tensor -> file name where an index says it."""
    if source.is_file():
        if source.suffix not in (".safetensors", ".bin"):
            raise ValueError(f"{source} is neither .safetensors nor .bin; name the checkpoint's folder")
        return [source], {}
    if not source.is_dir():
        raise ValueError(f"no checkpoint folder or file {source}; download the checkpoint first")
    for index, single in _NAMES:
        if (source / index).is_file():
            listed = _read_index(source / index)
            return [source / name for name in sorted(set(listed.values()))], listed
        if (source / single).is_file():
            return [_confined(source, single)], {}
    for pattern in _PATTERNS:
        if files := sorted(file.name for file in source.glob(pattern)):
            return [_confined(source, name) for name in files], {}
    raise ValueError(f"{source} has no weights: neither {_PATTERNS[0]} nor {_PATTERNS[1]}")


def _read_index(index: Path) -> Mapping[str, str]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise ValueError(f"{index} must hold weight_map, from tensor names to file names")
    suffix = index.name.removesuffix(".index.json").rpartition(".")[2]
    for name in sorted(set(weight_map.values())):
        if name in ("", ".", "..") or Path(name).name != name or "\\" in name or "\0" in name:
            raise ValueError(f"{index} names {name!r}, which is not a file of its folder")
        if not name.endswith(f".{suffix}"):
            raise ValueError(f"{index} names {name!r}, which is no .{suffix} file")
        if not (index.parent / name).is_file():
            raise ValueError(f"{index} names {name}, which is missing; copy all shards")
        _confined(index.parent, name)
    return weight_map


def _confined(folder: Path, name: str) -> Path:
    """A file of a folder; links may lead no farther than the repository in a hub cache that the folder is."""
    root = folder.resolve()
    if root.parent.name == "snapshots":  # of .../models--owner--name, whose `blobs` the files are links to
        root = root.parent.parent
    if not (folder / name).resolve().is_relative_to(root):
        raise ValueError(f"{folder / name} is a link out of its folder; copy the file itself there")
    return folder / name


def _read_safetensors(file: Path) -> dict[str, StoredTensor]:
    try:
        with safe_open(file, framework="pt"):  # checks that types, shapes and offsets fit the file
            pass
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{file} is damaged ({error}); copy it again") from error
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        if entry["dtype"] not in _DTYPES:
            raise ValueError(
                f"{file}: {name} has type {entry['dtype']}; quantised weights cannot be converted, take the "
                "original checkpoint"
            )
        begin = 8 + length + entry["data_offsets"][0]
        tensors[name] = StoredTensor(file, begin, _DTYPES[entry["dtype"]], tuple(entry["shape"]))
    return tensors


def _read_bin(file: Path) -> dict[str, StoredTensor]:
    try:
        with FakeTensorMode():  # shapes and offsets only
            state = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{file} holds more than tensors: unpickling it could run code, so it is refused; get the "
            "checkpoint as safetensors"
        ) from error
    except _UNPICKLING as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"{file} is damaged ({reason}); copy it again") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{file} is no state dict: it must map names to tensors")
    size = file.stat().st_size
    tensors = {}
    for name, tensor in state.items():
        begin = getattr(tensor.untyped_storage(), "_checkpoint_offset", None)
        if begin is None or not tensor.is_contiguous() or tensor.dtype not in _DTYPES.values():
            raise ValueError(
                f"{file}: {name} is stored in an old or unusual form; load the file with torch and save it "
                "as safetensors"
            )
        begin += tensor.storage_offset() * tensor.dtype.itemsize
        stored = StoredTensor(file, begin, tensor.dtype, tuple(tensor.shape))
        if begin + stored.nbytes > size:
            raise ValueError(f"{file} is damaged ({name} ends behind the file); copy it again")
        tensors[str(name)] = stored
    return tensors
