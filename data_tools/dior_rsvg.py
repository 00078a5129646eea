"""DIOR-RSVG: one expression and one box per object, in VOC-style XML files.

The split files hold *running object indices*, not image names: all XML files in sorted path order, every
``<object>`` counted, starting at 0. One object more or less in front shifts every index behind it, so an
unreadable XML file is dangerous: its objects are counted by their opening tags, and the numbering is accepted
only if the total then ends exactly where the split files end.

Coordinates are taken as they stand (the format's 1-based origin is not corrected, as in the published
baselines); expressions are lower-cased, as the original loader does.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from data_tools.converter import Converter, Manifest, Sample, Settings
from data_tools.files import image_size, require
from data_tools.report import ConversionReport
from rsunivlm.data.records import resolve_image
from rsunivlm.tasks import Task

MANIFEST = Manifest(
    name="dior_rsvg",
    title="DIOR-RSVG",
    tasks=(Task.VG, Task.REG),
    source="https://github.com/ZhanYang-nwpu/RSVG-pytorch (links to the archive)",
    licence="none stated; treat as academic use only",
    layout="Annotations/*.xml JPEGImages/*.jpg {train,val,test}.txt",
    counts={"train": 26_991, "val": 3_829, "test": 7_500},
    notes="Split by object: images are shared between train and test. The paper trains on train + val.",
)
# Line counts of an older split that circulates under the same file names.
_OLD_COUNTS = {"train": 15_328, "val": 3_832, "test": 19_160}
_SPLITS = ("train", "val", "test")


def find_splits(root: Path) -> tuple[str, ...]:
    """Return the splits that have an index file."""
    require(root, "Annotations", "JPEGImages", layout=MANIFEST.layout)
    return tuple(split for split in _SPLITS if (root / f"{split}.txt").is_file())


def read(split: str, settings: Settings, report: ConversionReport) -> Iterator[Sample]:
    """Yield a grounding and a region description sample for every object of a split.

    Raises:
        ValueError: an index file is malformed, or the indices do not fit the XML files.
    """
    root = settings.root
    indices = {name: _read_indices(root / f"{name}.txt") for name in find_splits(root)}
    wanted = set(indices[split])
    if len(indices[split]) == _OLD_COUNTS[split]:
        report.warn(f"{split}.txt has the line count of the old DIOR-RSVG split; results will not compare")
    for other in indices:
        if other != split and (shared := wanted & set(indices[other])):
            report.warn(f"{split}.txt and {other}.txt share {len(shared)} objects")
    index = 0
    unreadable = 0
    for path in sorted((root / "Annotations").glob("*.xml")):
        data = path.read_bytes()
        try:
            annotation = ElementTree.fromstring(data)
        except ElementTree.ParseError as error:
            count = data.count(b"<object>")
            report.skip(f"Annotations/{path.name}", f"not valid XML ({error})", samples=2 * max(1, count))
            unreadable += 1
            index += count
            continue
        objects = list(enumerate(annotation.findall("object"), start=index))
        index += len(objects)
        if not objects:
            report.skip(f"Annotations/{path.name}", "has no <object>")
        if chosen := [(number, element) for number, element in objects if number in wanted]:
            yield from _samples(path, annotation, chosen, split, settings, report)
    last = max(max(values, default=-1) for values in indices.values())
    if last >= index or (unreadable and last != index - 1):
        raise ValueError(
            f"{root}: the split files count objects up to {last} but Annotations holds {index} objects, so "
            "the numbers cannot be trusted; restore the missing or damaged XML files"
        )


def _read_indices(path: Path) -> list[int]:
    try:
        return [int(line) for line in path.read_text(encoding="utf-8").split()]
    except ValueError as error:
        raise ValueError(f"{path}: must hold one object number per line ({error})") from error


def _samples(
    path: Path,
    annotation: ElementTree.Element,
    chosen: list[tuple[int, ElementTree.Element]],
    split: str,
    settings: Settings,
    report: ConversionReport,
) -> Iterator[Sample]:
    try:
        image = f"JPEGImages/{annotation.findtext('filename', '').strip()}"
        size = image_size(resolve_image(settings.root, image))
        stated = tuple(annotation.findtext(f"size/{side}", "") for side in ("width", "height"))
        if all(stated) and stated != (str(size[0]), str(size[1])):
            raise ValueError(f"states size {stated[0]} x {stated[1]} but {image} is {size[0]} x {size[1]}")
    except ValueError as error:
        report.skip(f"Annotations/{path.name} ({split})", str(error), samples=2 * len(chosen))
        return
    for index, element in chosen:
        try:
            box = _box(element, size)
            expression = (element.findtext("description") or "").strip().lower()
            if not expression:
                raise ValueError("has no description")
        except ValueError as error:
            report.skip(f"Annotations/{path.name} object {index}", str(error), samples=2)
            continue
        text = settings.boxes.encode([box], size)
        if not text:
            report.left_out["box too small for the box codec: not in training, no REG"] += 1
        common = {"image_size": list(size)}
        yield Sample(
            id=f"{split}-{index}",
            images=(image,),
            task=Task.VG,
            slots={"expression": expression},
            # A box that vanishes on the codec's scale cannot be taught, but a score has to count it.
            answers=(text or replace(settings.boxes, decimals=6).encode([box], size),),
            target={"boxes_px": [box], **common},
            training=bool(text),
        )
        if not text:
            continue
        yield Sample(
            id=f"{split}-{index}-reg",
            images=(image,),
            task=Task.REG,
            slots={"box": text},
            answers=(expression,),
            target={"box_px": box, "references": [expression], **common},
        )


def _box(element: ElementTree.Element, size: tuple[int, int]) -> list[float]:
    width, height = size
    texts = [element.findtext(f"bndbox/{name}") for name in ("xmin", "ymin", "xmax", "ymax")]
    try:
        x1, y1, x2, y2 = (float(text or "") for text in texts)
    except ValueError as error:
        raise ValueError(f"box {texts} is incomplete or not made of numbers") from error
    if not all(map(math.isfinite, (x1, y1, x2, y2))) or x2 <= x1 or y2 <= y1:
        raise ValueError(f"box {texts} is reversed or empty")
    if x1 < 0 or y1 < 0 or x2 > width or y2 > height:
        raise ValueError(f"box {texts} reaches beyond the {width} x {height} image")
    return [x1, y1, x2, y2]


CONVERTER = Converter(MANIFEST, find_splits, read)
