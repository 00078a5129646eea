"""Reading foreign files: what is there is found, what is damaged or malicious is refused by name."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from rsunivlm.models.checkpoints import files
from rsunivlm.models.checkpoints.files import StoredTensor, read_json, read_tensors


def value(tensor: StoredTensor) -> Tensor:
    flat = [chunk.clone() for chunk in tensor.chunks()]
    return torch.cat(flat).view(tensor.shape) if flat else torch.empty(tensor.shape, dtype=tensor.dtype)


STATE = {
    "a": torch.arange(12.0).view(3, 4),
    "b": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "scalar": torch.tensor(3, dtype=torch.int64),
    "none": torch.empty(0, 5),
}


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_values_in_chunks(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "CHUNK", 16)  # four float32
    if suffix == ".bin":
        shared = torch.arange(40.0)
        state = STATE | {"view": shared[8:20].view(3, 4), "again": shared}
        torch.save(state, tmp_path / "pytorch_model.bin")
    else:
        state = STATE
        save_file(state, tmp_path / "model.safetensors")
    found = read_tensors(tmp_path)
    assert set(found) == set(state)
    for name, tensor in state.items():
        assert torch.equal(value(found[name]), tensor), name
        assert found[name].dtype == tensor.dtype


def test_a_file_of_its_own_and_shards_without_an_index(tmp_path: Path) -> None:
    save_file({"a": STATE["a"]}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"b": STATE["b"]}, tmp_path / "model-00002-of-00002.safetensors")
    assert list(read_tensors(tmp_path)) == ["a", "b"]
    assert list(read_tensors(tmp_path / "model-00002-of-00002.safetensors")) == ["b"]


def test_links_of_a_hub_cache_are_followed(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "models--a--b/blobs", tmp_path / "models--a--b/snapshots/0123"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    save_file({"a": STATE["a"]}, blobs / "ff.safetensors")
    (snapshot / "model.safetensors").symlink_to("../../blobs/ff.safetensors")
    assert torch.equal(value(read_tensors(snapshot)["a"]), STATE["a"])


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.system, (f"touch {self.mark}",)


def test_code_in_a_pickle_is_refused_and_does_not_run(tmp_path: Path) -> None:
    torch.save({"a": STATE["a"], "b": Payload(tmp_path / "ran")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin holds more than tensors.*safetensors"):
        read_tensors(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"\x80\x02}."])
def test_a_bin_that_is_none_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(ValueError, match=r"pytorch_model\.bin"):
        read_tensors(tmp_path)


@pytest.mark.parametrize(
    "state", [[STATE["a"]], {"model": STATE}, {"a": STATE["a"].T}, {"a": STATE["a"].expand(9, 3, 4)}]
)
def test_an_unusual_bin_is_refused(state: object, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin(: a is stored| is no state dict)"):
        read_tensors(tmp_path)


def test_a_bin_of_the_old_format_is_refused(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match="save it as safetensors"):
        read_tensors(tmp_path)


def entry(begin: int, end: int, shape: list[int], dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    "header",
    [
        {"a": entry(0, 4000, [1000])},  # beyond the file
        {"a": entry(0, 16, [5])},  # size and shape differ
        {"a": entry(0, 16, [4]), "b": entry(8, 16, [2])},  # overlapping
        {"a": entry(0, 8, [2])},  # bytes that belong to nothing
        {"a": entry(0, 16, [2**40, 2**40])},  # overflow
        {"a": entry(0, 16, [4], "F99")},
        {"a": entry(0, 16, [16], "F8_E4M3")},  # no weights that can be copied
        [1, 2],
    ],
)
def test_a_lying_header_is_refused(header: object, tmp_path: Path) -> None:
    content = json.dumps(header).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(content)) + content + bytes(16))
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        read_tensors(tmp_path)


@pytest.mark.parametrize("length", [2**63, 200 * 2**20, 10**6])
def test_a_huge_header_is_refused(length: int, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", length) + b"{}")
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        read_tensors(tmp_path)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_changed_or_cut_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever bytes change: a ValueError, or tensors that lie within the file."""
    folder = tmp_path_factory.mktemp("fuzz")
    kind = data.draw(st.sampled_from(["model.safetensors", "pytorch_model.bin"]))
    file = folder / kind
    (save_file if kind == "model.safetensors" else torch.save)({"a": STATE["a"], "b": STATE["b"]}, file)
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        found = read_tensors(folder)
    except ValueError:
        return
    for tensor in found.values():
        value(tensor)


def write_index(folder: Path, weight_map: object) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../model.safetensors", "not a file of its folder"),
        ("/etc/model.safetensors", "not a file of its folder"),
        ("..", "not a file of its folder"),
        ("a\\b.safetensors", "not a file of its folder"),
        ("x\0.safetensors", "not a file of its folder"),
        ("shard.bin", r"is no \.safetensors file"),
        ("shard.safetensors", "is missing; copy all shards"),
        ("link.safetensors", "link out of its folder"),
        (7, "must hold weight_map"),
    ],
)
def test_an_index_stays_in_its_folder(name: object, message: str, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    save_file(STATE, tmp_path / "model.safetensors")
    (folder / "link.safetensors").symlink_to(tmp_path / "model.safetensors")
    write_index(folder, {"a": name})
    with pytest.raises(ValueError, match=message):
        read_tensors(folder)


def test_an_index_and_its_shards_must_agree(tmp_path: Path) -> None:
    save_file({"a": STATE["a"]}, tmp_path / "one.safetensors")
    save_file({"a": STATE["a"]}, tmp_path / "two.safetensors")
    write_index(tmp_path, {"a": "one.safetensors", "b": "two.safetensors"})
    with pytest.raises(ValueError, match=r"tensor a is in one\.safetensors too"):
        read_tensors(tmp_path)
    write_index(tmp_path, {"a": "one.safetensors", "b": "one.safetensors"})
    with pytest.raises(ValueError, match=r"the index says that b is in one\.safetensors"):
        read_tensors(tmp_path)


def test_json_is_an_object_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.json"
    for content in ("[1]", "{", "[" * 100_000, '"text"', "\udcff"):
        path.write_bytes(content.encode(errors="surrogateescape"))
        with pytest.raises(ValueError, match=r"config\.json"):
            read_json(path)
    path.write_text("{}" + " " * 100)
    assert read_json(path) == {}
    monkeypatch.setattr(files, "JSON_LIMIT", 50)
    with pytest.raises(ValueError, match=r"config\.json is larger"):
        read_json(path)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no weights"):
        read_tensors(tmp_path)
    with pytest.raises(ValueError, match="no checkpoint folder or file"):
        read_tensors(tmp_path / "absent")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ValueError, match=r"neither \.safetensors nor \.bin"):
        read_tensors(tmp_path / "notes.txt")
