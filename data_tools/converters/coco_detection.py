"""Any detection set in COCO's JSON: a user's own boxes, asked for by rule-made expressions.

The annotation files are found by name, at the root or one folder below: ``instances_{split}.json``,
``annotations_{split}.json``, ``{split}.json`` or ``{split}/_annotations.coco.json``, where the split begins
with train, val or test (``train2017``). A picture's ``file_name`` is looked for relative to the annotation
file, to the root, to ``images``, and to the folder named as the split (at the root and in ``images``). It may
contain ``..`` as long as it stays below the root: then name the folder that holds both as the root.

COCO boxes are x, y, width, height. Less than half a pixel beyond the frame is rounding and cut off; a box
that is further out, has no area or no numbers is bad. A bad box and a crowd annotation (``iscrowd``) leave
open how many objects of the class there are and where, so nothing is said about that class in that image.
What is said about the others: see `data_tools.expressions`.
"""

from __future__ import annotations

import posixpath
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from data_tools.converter import Converter, Manifest, Sample, Settings
from data_tools.expressions import Thing
from data_tools.files import image_size, stream_json
from data_tools.grounding import check_box, detection_samples
from data_tools.labels import class_words
from data_tools.report import ConversionReport
from rsunivlm.data.records import resolve_image
from rsunivlm.tasks import Task

MANIFEST = Manifest(
    name="coco_detection",
    title="Your own boxes (COCO JSON)",
    tasks=(Task.VG, Task.REG),
    source="your own",
    licence="your own",
    layout="{instances_,annotations_,}{train,val,test}*.json at the root or one folder below, or "
    "{train,val,test}*/_annotations.coco.json; pictures anywhere below the root",
    needs=("*.json|*/*.json",),
    notes="Expressions are made by rule from classes and boxes, at most two per object, and only where they "
    "single out one object; the boxes must be complete for that.",
)
_SPLIT = r"(?:train|val|test)"
_FILE = re.compile(rf"(?:instances_|annotations_)({_SPLIT}\w*)\.json|({_SPLIT}\d*)\.json")
_IN_SPLIT_FOLDER = "_annotations.coco.json"
_ROUNDING_PX = 0.5


@dataclass(frozen=True)
class _Object:
    """An annotation: its id, class, x, y, width, height (not a number where missing), crowd or not."""

    id: int
    label: str
    box: tuple[float, float, float, float]
    is_crowd: bool


@dataclass(frozen=True)
class _Item:
    """A picture, its size as stated (None where not), and all its annotations."""

    split: str
    id: int
    file_name: str
    places: tuple[str, ...]
    stated_size: tuple[Any, Any]
    objects: tuple[_Object, ...]


def find_splits(root: Path) -> tuple[str, ...]:
    """Return the splits that have an annotation file.

    Raises:
        ValueError: there is none, or two for one split.
    """
    files = _files(root)
    if not files:
        raise ValueError(f"{root} has no COCO annotations; expected layout: {MANIFEST.layout}")
    return tuple(files)


def items(split: str, settings: Settings, report: ConversionReport) -> Iterator[_Item]:
    """Yield every picture of a split.

    Raises:
        ValueError: the file is no valid JSON, or names no classes.
    """
    path = _files(settings.root)[split]
    names = _class_names(path)
    folder = path.parent.relative_to(settings.root).as_posix()
    places = (folder, "", "images", split, f"images/{split}")
    table = _Table.read(path, names, report)
    seen: set[int] = set()
    for number, entry in enumerate(stream_json(path, "images.item")):
        identity, file_name = (
            (entry.get("id"), entry.get("file_name")) if isinstance(entry, dict) else (None, None)
        )
        if not _is_id(identity) or identity in seen or not isinstance(file_name, str):
            report.skip(f"{path.name} image {number}", f"has no id of its own or no file_name: {entry!r:.80}")
            continue
        seen.add(identity)
        stated_size = (entry.get("width"), entry.get("height"))
        objects = tuple(table.of_image(identity, names))
        yield _Item(split, identity, file_name, tuple(dict.fromkeys(places)), stated_size, objects)
    for identity in table.images() - seen:
        report.skip(f"{path.name} image {identity}", "is annotated but not listed under 'images'")


def samples(item: _Item, settings: Settings, report: ConversionReport) -> Iterator[Sample]:
    """Yield the samples of a picture's objects."""
    where = f"{item.split} image {item.file_name}"
    try:
        image = _find_image(settings.root, item)
        size = image_size(resolve_image(settings.root, image))
        if item.stated_size not in (size, (None, None)):
            raise ValueError(f"is {size[0]} x {size[1]} but stated as {item.stated_size}")
    except ValueError as error:
        report.skip(where, str(error), samples=max(1, len(item.objects)))
        return
    things: list[Thing] = []
    uncertain: set[str] = set()
    for found in item.objects:
        if found.is_crowd:
            report.left_out["crowds: nothing is said about their class in the image"] += 1
            uncertain.add(found.label)
            continue
        x, y, width, height = found.box
        try:
            box = check_box((x, y, x + width, y + height), size, slack=_ROUNDING_PX)
        except ValueError as error:
            report.skip(f"{where} annotation {found.id}", str(error))
            uncertain.add(found.label)
            continue
        things.append(Thing(found.label, box))
    yield from detection_samples(f"{item.split}-{item.id}", image, size, things, uncertain, settings, report)


def _files(root: Path) -> dict[str, Path]:
    """The annotation file of each split, splits in alphabetical order."""
    found: dict[str, Path] = {}
    for path in sorted([*root.glob("*.json"), *root.glob("*/*.json")]):
        match = _FILE.fullmatch(path.name)
        if match:
            split = match[1] or match[2]
        elif path.name == _IN_SPLIT_FOLDER and re.match(_SPLIT, path.parent.name):
            split = path.parent.name
        else:
            continue
        if split in found:
            raise ValueError(
                f"{root} holds two annotation files for {split}: {found[split].relative_to(root)} and "
                f"{path.relative_to(root)}; name a root that holds one"
            )
        found[split] = path
    return dict(sorted(found.items()))


def _class_names(path: Path) -> dict[int, str]:
    names: dict[int, str] = {}
    for entry in stream_json(path, "categories.item"):
        identity, name = (entry.get("id"), entry.get("name")) if isinstance(entry, dict) else (None, None)
        if not _is_id(identity) or not isinstance(name, str) or not any(map(str.isalnum, name)):
            raise ValueError(f"{path}: category {entry!r:.80} has no id or no name")
        names[identity] = class_words(name)
    if not names:
        raise ValueError(f"{path} has no 'categories'; it is no COCO detection file")
    return names


def _find_image(root: Path, item: _Item) -> str:
    """The path of a picture below the root, without ``..``; the first place where it lies.

    Raises:
        ValueError: it is absolute, or lies nowhere below the root.
    """
    outside = False
    for place in item.places:
        path = posixpath.normpath(posixpath.join(place, item.file_name))
        if path.startswith(("../", "/")):
            outside = True
        elif (root / path).is_file():
            return path
    mend = f" without leaving {root}; name a root that holds both" if outside else ""
    raise ValueError(f"image {item.file_name!r} is not found{mend}")


@dataclass(frozen=True)
class _Table:
    """All annotations of a file in some 60 bytes each, sorted by image: a large set has millions.

    Row r is annotation `ids[r]` of image `image_ids[r]`, with class `categories[r]` and so on; `boxes` is
    [N, 4], the others [N].
    """

    image_ids: np.ndarray
    ids: np.ndarray
    categories: np.ndarray
    crowds: np.ndarray
    boxes: np.ndarray

    @classmethod
    def read(cls, path: Path, names: dict[int, str], report: ConversionReport) -> _Table:
        """Stream the annotations of a file; those that cannot be placed are reported."""
        numbers, boxes = array("q"), array("d")
        for row, entry in enumerate(stream_json(path, "annotations.item")):
            try:
                numbers.extend(_numbers(entry, row, names))
            except ValueError as error:
                report.skip(f"{path.name} annotation {row}", str(error))
                continue
            boxes.extend(_box(entry.get("bbox")))
        numbers_N4 = np.array(numbers, np.int64).reshape(-1, 4)
        order = np.argsort(numbers_N4[:, 0], kind="stable")
        image_ids, ids, categories, crowds = np.ascontiguousarray(numbers_N4[order].T)
        return cls(image_ids, ids, categories, crowds, np.array(boxes).reshape(-1, 4)[order])

    def images(self) -> set[int]:
        """The images that have annotations."""
        return set(np.unique(self.image_ids).tolist())

    def of_image(self, identity: int, names: dict[int, str]) -> Iterator[_Object]:
        """Yield the annotations of an image in the order of the file."""
        first, last = np.searchsorted(self.image_ids, [identity, identity + 1])
        for row in range(first, last):
            x, y, width, height = self.boxes[row].tolist()
            yield _Object(
                int(self.ids[row]),
                names[int(self.categories[row])],
                (x, y, width, height),
                bool(self.crowds[row]),
            )


def _numbers(entry: Any, row: int, names: dict[int, str]) -> tuple[int, int, int, int]:
    """Image, id (the row where there is none), class and crowd flag of an annotation."""
    fields = entry if isinstance(entry, dict) else {}
    image, category = fields.get("image_id"), fields.get("category_id")
    if not _is_id(image) or not _is_id(category) or category not in names:
        raise ValueError(f"has no image_id or no known category_id: {entry!r:.80}")
    identity = fields.get("id")
    return image, identity if _is_id(identity) else row, category, int(fields.get("iscrowd") == 1)


def _is_id(value: Any) -> TypeGuard[int]:
    return type(value) is int  # not a boolean


def _box(values: Any) -> list[float]:
    """The four numbers of a box; four times "not a number", which no check accepts, where they are none."""
    if isinstance(values, list) and len(values) == 4 and all(type(v) in (int, float) for v in values):
        return values
    return [float("nan")] * 4


CONVERTERS = (Converter(MANIFEST, find_splits, items, samples),)
