"""``python -m data_tools export``: converted records with their images in shards that engines stream.

A converted dataset is many small files: records here, images where the download lies. An export packs both
into shards, for object stores, clusters and `datasets`:

* Parquet, read by ``datasets.load_dataset("parquet", data_files=...)``, Ray, Spark, DuckDB;
* WebDataset, tar files read by ``datasets.load_dataset("webdataset", data_files=...)`` and `webdataset`.

Image files go in byte by byte, never re-encoded. A shard is written aside and renamed, so it is whole or not
there; an export that is started again makes the shards that are missing. What is in a shard depends on the
records alone, so shards can be made by any number of processes.

`as_dataset` gives the same rows without writing anything.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from tqdm import tqdm

from data_tools.converted import Converted, ConvertedFile, read_converted
from rsunivlm.data.records import Record, resolve_image

if TYPE_CHECKING:
    import datasets

Format = Literal["parquet", "webdataset"]
Row = dict[str, Any]

SHARD_SIZE = 1_000
SUMMARY = "export.json"
# Rows are held until their images fill this many bytes; a row group of Parquet is what a reader must load.
_GROUP_BYTES = 64 << 20
_PLAN = ".plan.json"


@dataclass(frozen=True)
class Shard:
    """A run of records of one file.

    Attributes:
        file: the record file.
        images: what its image paths are relative to.
        start: byte at which the first record begins.
        first: number of the first record in the file.
        count: how many records, at most.
        goal: shard to write.
    """

    file: Path
    images: Path
    start: int
    first: int
    count: int
    goal: Path


def export(
    out: Path,
    dest: Path,
    *,
    format: Format = "parquet",
    shards: int | None = None,
    shard_size: int = SHARD_SIZE,
    files: tuple[str, ...] = (),
    workers: int = 1,
) -> dict[str, int]:
    """Pack a converted dataset into shards.

    Args:
        out: folder of a conversion.
        dest: new folder, or one with a part of the same export.
        format: of the shards.
        shards: how many to make of each record file, of equal size; None goes by `shard_size`.
        shard_size: records in a shard.
        files: record files to export, as conversion.json names them; () for all.
        workers: processes.

    Returns:
        Record file -> number of its shards.

    Raises:
        ValueError: no conversion, an unknown file, ``dest`` holds something else, or a record or image is
            damaged; shards that were finished by then stay.
    """
    converted = read_converted(out)
    suffix = {"parquet": "parquet", "webdataset": "tar"}[format]
    work: list[Shard] = []
    counts: dict[str, int] = {}
    plan: dict[str, Any] = {
        "dataset": converted.dataset,
        "converter": converted.converter,
        "licence": converted.licence,
        "format": format,
        "files": {},
    }
    for file in _chosen(converted, files):
        size = shard_size if shards is None else -(-file.records // shards)
        checksum, found = _cut(file, converted.images, size, dest, suffix)
        work += found
        counts[file.name] = len(found)
        plan["files"][file.name] = {"sha256": checksum, "records": file.records, "shards": len(found)}
    _claim(dest, plan)
    write = functools.partial(_write, format=format)
    left = [shard for shard in work if not shard.goal.is_file()]
    progress = tqdm(total=len(work), initial=len(work) - len(left), unit=" shards", disable=None)
    if workers == 1:
        for shard in left:
            write(shard)
            progress.update()
    else:
        with ProcessPoolExecutor(workers, mp_context=get_context("forkserver")) as pool:
            for _ in pool.map(write, left):
                progress.update()
    progress.close()
    os.replace(dest / _PLAN, dest / SUMMARY)
    return counts


def as_dataset(out: Path, file: str) -> datasets.IterableDataset:
    """The rows of one record file as a stream of `datasets`, read from where records and images lie.

    The stream has as many parts as shards of the default size, for loader workers and
    `datasets.distributed.split_dataset_by_node` to share.

    Args:
        out: folder of a conversion.
        file: record file as conversion.json names it, e.g. "training/vqa_train.jsonl".

    Raises:
        ValueError: no conversion, or no such file.
    """
    from datasets import IterableDataset

    converted = read_converted(out)
    (chosen,) = _chosen(converted, (file,))
    _, shards = _cut(chosen, converted.images, SHARD_SIZE, out, "")
    return IterableDataset.from_generator(_all_rows, features=features(), gen_kwargs={"shards": shards})


def features() -> datasets.Features:
    """Columns of a row.

    ``targets`` is JSON text, since it differs from task to task; ``masks`` are the label images that it
    names, once each, in the order in which it names them.
    """
    from datasets import Features, Image, List, Value

    return Features(
        {
            "id": Value("string"),
            "images": List(Image()),
            "masks": List(Image()),
            "conversations": List({"from": Value("string"), "value": Value("string")}),
            "task": Value("string"),
            "source": Value("string"),
            "targets": Value("string"),
        }
    )


def rows(shard: Shard) -> Iterator[Row]:
    """Read the records of a shard with the bytes of their images.

    Raises:
        ValueError: a record or an image is missing or damaged; names it.
    """

    @functools.lru_cache(maxsize=4)  # records about one image stand together
    def picture(path: str) -> Row:
        file = resolve_image(shard.images, path)
        if not file.is_file():
            raise ValueError(f"{shard.file}: image {file} is missing; restore it or convert again")
        return {"path": path, "bytes": file.read_bytes()}

    with shard.file.open("rb") as lines:
        lines.seek(shard.start)
        for number, line in enumerate(islice(lines, shard.count), start=shard.first + 1):
            record = Record.from_json(json.loads(line), f"{shard.file}:{number}")
            targets = record.targets if isinstance(record.targets, list) else [record.targets]
            masks = dict.fromkeys(target["mask"] for target in targets if target and "mask" in target)
            yield {
                "id": record.id,
                "images": [picture(image) for image in record.images],
                "masks": [picture(mask) for mask in masks],
                "conversations": record.to_json()["conversations"],
                "task": record.task.value,
                "source": record.source,
                "targets": json.dumps(record.targets, ensure_ascii=False),
            }


def _all_rows(shards: list[Shard]) -> Iterator[Row]:
    for shard in shards:
        yield from rows(shard)


def _chosen(converted: Converted, names: tuple[str, ...]) -> list[ConvertedFile]:
    by_name = {file.name: file for file in converted.files}
    for name in names:
        if name not in by_name:
            raise ValueError(f"{converted.folder} has no record file {name!r}; it has {', '.join(by_name)}")
    return [by_name[name] for name in names or by_name]


def _cut(file: ConvertedFile, images: Path, size: int, dest: Path, suffix: str) -> tuple[str, list[Shard]]:
    """Find where the shards of a record file begin; returns them and the file's SHA-256."""
    checksum = hashlib.sha256()
    number = -(-file.records // size)
    stem = PurePosixPath(file.name).with_suffix("")
    shards: list[Shard] = []
    position = count = 0
    with file.path.open("rb") as lines:
        for line in lines:
            if count % size == 0:
                goal = dest / f"{stem}-{len(shards):05}-of-{number:05}.{suffix}"
                shards.append(Shard(file.path, images, position, count, size, goal))
            count += 1
            position += len(line)
            checksum.update(line)
    if count != file.records:
        raise ValueError(f"{file.path} has not the {file.records} records of its conversion; convert again")
    return checksum.hexdigest(), shards


def _claim(dest: Path, plan: dict[str, Any]) -> None:
    """Make sure that a folder is new or holds (a part of) this very export."""
    text = json.dumps(plan, indent=1) + "\n"
    for state in (dest / SUMMARY, dest / _PLAN):
        if state.is_file():
            if state.read_text(encoding="utf-8") != text:
                raise ValueError(f"{dest} holds another export; name a new folder")
            os.replace(state, dest / _PLAN)
            return
    if dest.exists() and (not dest.is_dir() or any(dest.iterdir())):
        raise ValueError(f"{dest} is not empty; name a new folder")
    dest.mkdir(parents=True, exist_ok=True)
    (dest / _PLAN).write_text(text, encoding="utf-8")


def _write(shard: Shard, format: Format) -> None:
    partial = shard.goal.with_name(f".{shard.goal.name}.partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    {"parquet": _write_parquet, "webdataset": _write_tar}[format](shard, partial)
    os.replace(partial, shard.goal)


def _write_parquet(shard: Shard, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = features()
    # The dictionary stores an image once for all rows of a group that show it.
    writer = pq.ParquetWriter(
        path, columns.arrow_schema, compression="zstd", dictionary_pagesize_limit=_GROUP_BYTES
    )
    with writer:
        for group in _groups(rows(shard)):
            encoded = [columns.encode_example(row) for row in group]
            writer.write_table(pa.Table.from_pylist(encoded, schema=columns.arrow_schema))


def _groups(stream: Iterator[Row]) -> Iterator[list[Row]]:
    group: list[Row] = []
    size = 0
    for row in stream:
        group.append(row)
        size += sum(len(picture["bytes"]) for picture in (*row["images"], *row["masks"]))
        if size >= _GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _write_tar(shard: Shard, path: Path) -> None:
    """One sample a record: ``{number}.image0.jpg``, ``{number}.mask0.png``, ``{number}.json``.

    Readers want the same columns in every sample. So all samples have the suffixes of the shard's first one,
    also where a dataset mixes image formats: decoders tell the format from the content, and the true name
    stands in the JSON.
    """
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        suffixes: list[str] = []
        for number, row in enumerate(rows(shard), start=shard.first):
            pictures = [("image", *one) for one in enumerate(row["images"])]
            pictures += [("mask", *one) for one in enumerate(row["masks"])]
            suffixes = suffixes or [PurePosixPath(picture["path"]).suffix.lower() for *_, picture in pictures]
            if len(suffixes) != len(pictures):
                raise ValueError(
                    f"{shard.file}: record {row['id']} has another number of images and masks than those "
                    "before it, which WebDataset cannot hold; export as parquet"
                )
            for (kind, index, picture), suffix in zip(pictures, suffixes, strict=True):
                _add(tar, f"{number:09}.{kind}{index}{suffix}", picture["bytes"])
            names = {kind: [picture["path"] for picture in row[kind]] for kind in ("images", "masks")}
            _add(tar, f"{number:09}.json", json.dumps(row | names, ensure_ascii=False).encode())


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)  # no time, no owner: equal records make equal bytes
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the sub-command ``export``."""
    parser = subparsers.add_parser(
        "export",
        help="pack converted records and their images into Parquet or WebDataset shards",
        description="An interrupted export goes on when it is started again.",
    )
    add = parser.add_argument
    add("out", type=Path, metavar="OUT", help="folder that `convert --out` made")
    add("dest", type=Path, metavar="DEST", help="folder of the shards; new, or with a part of this export")
    add("--format", choices=("parquet", "webdataset"), default="parquet")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--shards", type=_positive, metavar="N", help="shards of each record file")
    size.add_argument(
        "--shard-size", type=_positive, metavar="N", default=SHARD_SIZE, help="records in a shard"
    )
    add("--file", action="append", default=[], help="only this record file (may be repeated)")
    add("--workers", type=_positive, default=1, help="processes (default: 1)")
    parser.set_defaults(run=run)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def run(options: argparse.Namespace) -> None:
    """Run the command.

    Raises:
        ValueError: see `export`.
    """
    counts = export(
        options.out,
        options.dest,
        format=options.format,
        shards=options.shards,
        shard_size=options.shard_size,
        files=tuple(options.file),
        workers=options.workers,
    )
    for name, count in counts.items():
        Console(markup=False).print(f"{name}: {count} shards", highlight=False, soft_wrap=True)
