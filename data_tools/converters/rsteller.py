"""RSTeller: 1.2 million aerial images of the United States with captions written by a language model.

WebDataset archives, each a row of pairs ``607.jpg`` and ``607.json``, or the same pairs unpacked into
folders. An image has one caption from map data (task 1 or 2) and up to four rewordings (task 3); all are kept
as equally right answers, one training record each, so that a mixture that draws 100k records draws them from
the 2.5 million captions as the paper did.

Records need image files: unpacked ones are used where they lie; those in archives are copied, as they are,
into ``images/`` of the output folder. Archives are not unpacked as a whole: the reader notes where in the
archive a pair lies, and whoever writes its record fetches it from there.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image, UnidentifiedImageError

from data_tools.converter import Converter, Manifest, Sample, Settings
from data_tools.files import image_size
from data_tools.report import ConversionReport
from rsunivlm.data.records import check_relative, resolve_image
from rsunivlm.tasks import Task

# Not deeper: below them may lie the output folder of an earlier conversion.
_ARCHIVES = ("*.tar", "*/*.tar")
_UNPACKED = ("*.jpg", "*/*.jpg")

MANIFEST = Manifest(
    name="rsteller",
    title="RSTeller",
    tasks=(Task.CAP,),
    source="https://huggingface.co/datasets/SlytherinGe/RSTeller",
    licence="Apache-2.0 by its tag; texts from OpenStreetMap data",
    layout="Patches0000.tar ... or JPG/train-{000000..000239}.tar, or the pairs *.jpg *.json unpacked",
    needs=("|".join((*_ARCHIVES, *_UNPACKED)),),
    folders=("RSTeller", "rsteller"),
    makes_images=True,
    precut=_UNPACKED,
    notes="1.197M images, 2.539M captions; the paper uses 100k: take them with `samples: 100000` in the "
    "mixture. Images in archives are copied into the output folder.",
)
_PICTURE, _ANNOTATION = ".jpg", ".json"


@dataclass(frozen=True)
class _File:
    """A file of a pair, and where its bytes are.

    Attributes:
        name: its path, that of the archive without suffix included.
        holder: the archive, or the file itself, relative to the root.
        offset: first byte in the holder.
        size: number of bytes; -1 for all.
    """

    name: str
    holder: str
    offset: int = 0
    size: int = -1

    @property
    def key(self) -> str:
        """Path without anything from the first dot of the file name on: pairs have it in common."""
        path = PurePosixPath(self.name)
        return str(path.with_name(path.name.partition(".")[0] or path.name))

    def read(self, root: Path) -> bytes:
        """Return the bytes.

        Raises:
            ValueError: the holder leads out of the root.
        """
        with resolve_image(root, self.holder).open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


@dataclass(frozen=True)
class _Item:
    """One pair; a missing half is None. `archived`: it lies in an archive."""

    key: str
    picture: _File | None
    annotation: _File | None
    archived: bool


def find_splits(root: Path) -> tuple[str, ...]:
    """Return "train", the only split."""
    if not any(any(root.glob(pattern)) for pattern in (*_ARCHIVES, *_UNPACKED)):
        raise ValueError(f"{root} holds no pairs; expected layout: {MANIFEST.layout}")
    return ("train",)


def items(split: str, settings: Settings, report: ConversionReport) -> Iterator[_Item]:
    """Yield every pair, archive by archive or folder by folder.

    Raises:
        ValueError: an archive is cut short or no plain tar file.
    """
    archived = MANIFEST.cuts_images(settings.root)
    files = _archived(settings.root, report) if archived else _unpacked(settings.root)
    for key, group in groupby(files, key=lambda file: file.key):
        halves = {PurePosixPath(file.name).suffix.lower(): file for file in group}
        if _PICTURE in halves or _ANNOTATION in halves:
            yield _Item(key, halves.get(_PICTURE), halves.get(_ANNOTATION), archived)


def samples(item: _Item, settings: Settings, report: ConversionReport) -> Iterator[Sample]:
    """Yield the captions of a pair; an image in an archive is copied out of it."""
    try:
        if item.picture is None or item.annotation is None:
            raise ValueError("is only half a pair, .jpg or .json is missing")
        captions = _captions(item.annotation.read(settings.root))
        if item.archived:
            image = f"images/{item.key}{_PICTURE}"
            goal = resolve_image(settings.image_root(MANIFEST), image)
            _copy(item.picture.read(settings.root), goal)
        else:
            image = item.picture.name
            image_size(resolve_image(settings.root, image))
    except ValueError as error:
        report.skip(item.key, str(error))
        return
    yield Sample(
        id=f"train-{item.key.replace('/', '-')}",
        images=(image,),
        task=Task.CAP,
        slots={},
        answers=captions,
        target={"references": list(captions)},
    )


def _unpacked(root: Path) -> Iterator[_File]:
    for folder in (root, *sorted(path for path in root.iterdir() if path.is_dir())):
        for name in sorted(entry.name for entry in os.scandir(folder) if entry.is_file()):
            path = (folder / name).relative_to(root).as_posix()
            yield _File(path, path)


def _archived(root: Path, report: ConversionReport) -> Iterator[_File]:
    archives = {path.relative_to(root).as_posix() for pattern in _ARCHIVES for path in root.glob(pattern)}
    for archive in sorted(archives):
        yield from _members(root, archive, report)


def _members(root: Path, archive: str, report: ConversionReport) -> Iterator[_File]:
    end = 0
    try:
        with tarfile.open(root / archive, "r:") as tar:
            for member in tar:
                end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                if member.isdir():
                    continue
                try:
                    name = PurePosixPath(check_relative(member.name, archive))
                    if not member.isreg():
                        raise ValueError("is no plain file")
                except ValueError as error:
                    report.skip(f"{archive} member {member.name}", str(error))
                    continue
                where = PurePosixPath(archive).with_suffix("") / name
                yield _File(str(where), archive, member.offset_data, member.size)
        # tarfile takes a half header for the end; the true end is marked with empty blocks.
        if any(_File("", archive, end, tarfile.BLOCKSIZE).read(root) or b"!"):
            raise tarfile.ReadError("no end mark")
    except tarfile.TarError as error:
        raise ValueError(
            f"{root / archive} is cut short or no plain tar file ({error}); download it again"
        ) from error


def _captions(data: bytes) -> tuple[str, ...]:
    try:
        content: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its annotation is not valid JSON ({error})") from error
    entries = content.get("annotations") if isinstance(content, dict) else None
    texts = [entry.get("text") if isinstance(entry, dict) else None for entry in entries or ()]
    captions = tuple(text.strip() for text in texts if isinstance(text, str) and text.strip())
    if not captions or len(captions) < len(texts):
        raise ValueError("its annotation has no captions, or an empty one")
    return captions


def _copy(data: bytes, goal: Path) -> None:
    """Write a picture aside and rename it; one that is there in full is kept."""
    try:
        Image.open(BytesIO(data)).close()
    except UnidentifiedImageError as error:  # its text names an address in memory
        raise ValueError("its image is unreadable (no known image format)") from error
    except (OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"its image is unreadable ({error})") from error
    if goal.is_file() and goal.stat().st_size == len(data):
        return
    goal.parent.mkdir(parents=True, exist_ok=True)
    partial = goal.with_name(f".{os.getpid()}.{goal.name}")
    partial.write_bytes(data)
    os.replace(partial, goal)


CONVERTERS = (Converter(MANIFEST, find_splits, items, samples),)
