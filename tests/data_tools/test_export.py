"""Shards hold the records and the very bytes of their images, and `datasets` reads them back."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_tools import export as module
from data_tools.__main__ import main
from data_tools.export import as_dataset, export
from rsunivlm.codecs import BoxCodec, MaskCodec
from rsunivlm.data.records import Record, Turn, read_records, write_records
from rsunivlm.tasks import Task

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of its own for what `datasets` reads back."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def converted(tmp_path: Path) -> Path:
    """Two record files: seven questions about two pictures, and two changes with a mask."""
    images = tmp_path / "download"
    for number, name in enumerate(("a.jpg", "b.png", "A/1.png", "B/1.png", "masks/1.png")):
        path = images / name
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(values).save(path)
    out = tmp_path / "out"
    questions = [
        Record(
            f"q{number}",
            ("a.jpg" if number < 5 else "b.png",),
            (Turn(f"[VQA] is {number} ä prime?", "yes"),) * (2 if number == 3 else 1),
            Task.VQA,
            "toy",
            [{"answer": "yes"}] * 2 if number == 3 else {"answer": "yes"},
        )
        for number in range(7)
    ]
    change = Turn("[SEG] Which areas belong to road and have undergone changes?", "others*4")
    mask = {"mask": "masks/1.png", "labels": ["others", "road"], "value": 1}
    changes = [Record(f"c{n}", ("A/1.png", "B/1.png"), (change,), Task.CD, "toy", mask) for n in range(2)]
    files = {"training/vqa_train.jsonl": questions, "cd_test.jsonl": changes}
    for name, records in files.items():
        write_records(out / name, records)
    summary = {
        "dataset": "toy",
        "converter": "index_masks",
        "licence": "none",
        "images": str(images),
        "records": {name: len(records) for name, records in files.items()},
        "options": {
            "limit": None,
            "turns": 2,
            "box_codec": BoxCodec().to_dict(),
            "mask_codec": MaskCodec().to_dict(),
        },
    }
    (out / "conversion.json").write_text(json.dumps(summary))
    return out


def raw(rows: Any, *columns: str) -> list[dict[str, Any]]:
    """Rows with images as stored, not decoded."""
    for column in columns:
        feature = rows.features[column]
        whole = (
            [datasets.Image(decode=False)]
            if isinstance(feature, datasets.List)
            else datasets.Image(decode=False)
        )
        rows = rows.cast_column(column, whole)
    return list(rows)


def check(row: dict[str, Any], record: Record, images: Path) -> None:
    """A row of Parquet or of `as_dataset` is the record, with its files."""
    image: Any = [picture["path"] for picture in row["images"]]
    content = {**row, "image": image, "targets": json.loads(row["targets"])}
    assert Record.from_json(content) == record
    for picture in (*row["images"], *row["masks"]):
        assert picture["bytes"] == (images / picture["path"]).read_bytes()
    target = record.targets if isinstance(record.targets, dict) else {}
    assert [mask["path"] for mask in row["masks"]] == ([target["mask"]] if "mask" in target else [])


def test_parquet_reads_back_as_the_records_with_their_files(converted: Path, tmp_path: Path) -> None:
    made = export(converted, tmp_path / "shards", shard_size=3)
    assert made == {"training/vqa_train.jsonl": 3, "cd_test.jsonl": 1}
    for name in made:
        files = sorted((tmp_path / "shards").glob(f"{name.removesuffix('.jsonl')}-*.parquet"))
        rows = datasets.load_dataset("parquet", data_files=[*map(str, files)], split="train")
        assert rows[0]["images"][0].size == (8, 8)
        for row, record in zip(raw(rows, "images", "masks"), read_records(converted / name), strict=True):
            check(row, record, tmp_path / "download")


def test_row_groups_are_bounded_and_hold_an_image_once(
    converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.parquet as pq

    image = tmp_path / "download/a.jpg"
    image.write_bytes(np.random.default_rng(0).bytes(100_000))
    monkeypatch.setattr(module, "_GROUP_BYTES", 400_000)
    export(converted, tmp_path / "shards", shards=1, files=("training/vqa_train.jsonl",))
    (file,) = (tmp_path / "shards").rglob("*.parquet")
    assert file.stat().st_size < 2 * 100_000 + 30_000  # five rows show it, in two groups
    metadata = pq.ParquetFile(file).metadata
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [4, 3]


def test_webdataset_reads_back_with_files_of_one_name_a_column(converted: Path, tmp_path: Path) -> None:
    dest = tmp_path / "shards"
    assert main(["export", str(converted), str(dest), "--format", "webdataset", "--shards", "2"]) == 0
    files = [str(file) for file in sorted(dest.glob("training/vqa_train-*.tar"))]
    rows = datasets.load_dataset("webdataset", data_files=files, split="train")
    records = list(read_records(converted / "training/vqa_train.jsonl"))
    assert [row["json"]["id"] for row in rows] == [record.id for record in records]
    for row, record in zip(raw(rows, "image0.jpg"), records, strict=True):
        assert row["image0.jpg"]["bytes"] == (tmp_path / "download" / record.images[0]).read_bytes()
        assert row["json"]["images"] == [*record.images]
        assert json.loads(row["json"]["targets"]) == record.targets
    with tarfile.open(dest / "cd_test-00000-of-00002.tar") as tar:
        assert tar.getnames() == [
            f"000000000.{name}" for name in ("image0.png", "image1.png", "mask0.png", "json")
        ]
        mask = tar.extractfile("000000000.mask0.png").read()
        assert Image.open(io.BytesIO(mask)).size == (8, 8)


@pytest.mark.parametrize("format", ["parquet", "webdataset"])
def test_an_interrupted_export_goes_on_to_the_same_bytes(
    converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    def contents(folder: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
        }

    (tmp_path / "download/b.png").rename(tmp_path / "b.png")
    broken = tmp_path / "broken"
    with pytest.raises(ValueError, match=r"vqa_train\.jsonl: image .*b\.png is missing"):
        export(converted, broken, format=format, shard_size=2)
    whole = {path.name: path.stat().st_mtime_ns for path in broken.rglob("vqa*")}
    assert len(whole) == 2
    assert not (broken / "export.json").exists()
    (tmp_path / "b.png").rename(tmp_path / "download/b.png")
    export(converted, broken, format=format, shard_size=2, workers=2)
    assert {
        path.name: path.stat().st_mtime_ns for path in broken.rglob("vqa*") if path.name in whole
    } == whole
    export(converted, tmp_path / "at once", format=format, shard_size=2)
    assert contents(broken) == contents(tmp_path / "at once")
    assert json.loads((broken / "export.json").read_text())["licence"] == "none"


def test_the_stream_gives_the_rows_without_writing(
    converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHARD_SIZE", 3)
    before = sorted(converted.rglob("*"))
    stream = as_dataset(converted, "training/vqa_train.jsonl")
    assert stream.n_shards == 3
    assert next(iter(stream))["images"][0].size == (8, 8)
    records = read_records(converted / "training/vqa_train.jsonl")
    for row, record in zip(raw(stream, "images", "masks"), records, strict=True):
        check(row, record, tmp_path / "download")
    assert sorted(converted.rglob("*")) == before


def test_mistakes_are_named(converted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(*arguments: object) -> str:
        assert main(["export", *map(str, arguments)]) == 2
        return capsys.readouterr().err

    dest = tmp_path / "shards"
    assert "has no conversion.json" in refused(tmp_path / "download", dest)
    assert "no record file 'x.jsonl'; it has training/vqa_train.jsonl, cd_test.jsonl" in refused(
        converted, dest, "--file", "x.jsonl"
    )
    assert "is not empty; name a new folder" in refused(converted, tmp_path / "download")
    export(converted, dest)
    assert "holds another export; name a new folder" in refused(converted, dest, "--shards", 2)
    records = list(read_records(converted / "cd_test.jsonl"))
    records[1] = Record("c1", records[1].images, records[1].turns, Task.CD)
    write_records(converted / "cd_test.jsonl", records)
    assert "record c1 has another number of images and masks" in refused(
        converted, tmp_path / "tars", "--format", "webdataset"
    )
    write_records(converted / "cd_test.jsonl", records[:1])
    assert "has not the 2 records of its conversion; convert again" in refused(converted, tmp_path / "new")
