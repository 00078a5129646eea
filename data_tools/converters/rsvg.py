"""DIOR-RSVG and OPT-RSVG: one expression and one box per object, in VOC-style XML files.

The split files hold *running object indices*, not image names: all XML files in sorted path order, every
``<object>`` counted, starting at 0. One object more or less in front shifts every index behind it, so an
unreadable XML file is dangerous: its objects are counted by their opening tags, and the numbering is accepted
only if the total then ends exactly where the split files end.

Both sets are split by object: an image may have objects in the training and in the test split. Training
leaves the objects of test images out unless `include_overlap` asks for the published split as it is.

Coordinates are taken as they stand (the format's 1-based origin is not corrected, as in the published
baselines); expressions are lower-cased, as the original loader does.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from data_tools.converter import Converter, Manifest, Sample, Settings
from data_tools.files import image_size, require
from data_tools.grounding import check_box, grounding_samples
from data_tools.report import ConversionReport
from rsunivlm.data.records import resolve_image
from rsunivlm.tasks import Task

_SPLITS = ("train", "val", "test")
_BOX_TAGS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class _Object:
    """An ``<object>`` as written: its running number, its box and its expression."""

    number: int
    box: tuple[str | None, ...]
    expression: str


@dataclass(frozen=True)
class _Image:
    """One XML file's objects of one split; `in_test`: the image also has objects in the test split."""

    split: str
    xml: str
    image: str
    stated_size: tuple[str, str]
    objects: tuple[_Object, ...]
    in_test: bool


def find_splits(layout: str, root: Path) -> tuple[str, ...]:
    """Return the splits that have an index file."""
    require(root, "Annotations", "JPEGImages", layout=layout)
    return tuple(split for split in _SPLITS if (root / f"{split}.txt").is_file())


def items(
    old_counts: Mapping[str, int], split: str, settings: Settings, report: ConversionReport
) -> Iterator[_Image]:
    """Yield every image that has objects in the split.

    Args:
        old_counts: line counts per split of an outdated set of split files, to warn of.
        split: which split.
        settings: of the conversion.
        report: gets the XML files that cannot be read.

    Raises:
        ValueError: an index file is malformed, or the indices do not fit the XML files.
    """
    root = settings.root
    files = {name: root / f"{name}.txt" for name in _SPLITS}
    indices = {name: _read_indices(path) for name, path in files.items() if path.is_file()}
    wanted = set(indices[split])
    tested = set(indices.get("test", ()))
    if len(indices[split]) == old_counts.get(split):
        report.warn(
            f"{split}.txt has the {len(indices[split]):,} lines of an old split; results will not compare "
            "with those on the current one"
        )
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
        elements = annotation.findall("object")
        numbers = range(index, index + len(elements))
        index += len(elements)
        if not elements:
            report.skip(f"Annotations/{path.name}", "has no <object>")
        chosen = tuple(
            _object(number, element)
            for number, element in zip(numbers, elements, strict=True)
            if number in wanted
        )
        if chosen:
            yield _Image(
                split,
                path.name,
                f"JPEGImages/{annotation.findtext('filename', '').strip()}",
                (annotation.findtext("size/width", ""), annotation.findtext("size/height", "")),
                chosen,
                in_test=not tested.isdisjoint(numbers),
            )
    last = max(max(values, default=-1) for values in indices.values())
    if last >= index or (unreadable and last != index - 1):
        raise ValueError(
            f"{root}: the split files count objects up to {last} but Annotations holds {index} objects, so "
            "the numbers cannot be trusted; restore the missing or damaged XML files"
        )


def samples(item: _Image, settings: Settings, report: ConversionReport) -> Iterator[Sample]:
    """Yield a grounding and a region description sample for every object of an image."""
    try:
        size = image_size(resolve_image(settings.root, item.image))
        if all(item.stated_size) and item.stated_size != (str(size[0]), str(size[1])):
            stated = " x ".join(item.stated_size)
            raise ValueError(f"states size {stated} but {item.image} is {size[0]} x {size[1]}")
    except ValueError as error:
        where = f"Annotations/{item.xml} ({item.split})"
        report.skip(where, str(error), samples=2 * len(item.objects))
        return
    may_train = settings.include_overlap or not item.in_test or item.split == "test"
    for found in item.objects:
        try:
            box = check_box(found.box, size)
            if not found.expression:
                raise ValueError("has no description")
        except ValueError as error:
            report.skip(f"Annotations/{item.xml} object {found.number}", str(error), samples=2)
            continue
        if not may_train:
            report.left_out["training: the image is in the test split (--include-overlap takes it)"] += 2
        yield from grounding_samples(
            f"{item.split}-{found.number}",
            item.image,
            size,
            box,
            (found.expression,),
            settings,
            report,
            training=may_train,
        )


def _read_indices(path: Path) -> list[int]:
    try:
        return [int(line) for line in path.read_text(encoding="utf-8").split()]
    except ValueError as error:
        raise ValueError(f"{path}: must hold one object number per line ({error})") from error


def _object(number: int, element: ElementTree.Element) -> _Object:
    box = tuple(element.findtext(f"bndbox/{tag}") for tag in _BOX_TAGS)
    return _Object(number, box, (element.findtext("description") or "").strip().lower())


def _converter(
    name: str,
    title: str,
    source: str,
    folders: tuple[str, ...],
    counts: Mapping[str, int],
    notes: str,
    old_counts: Mapping[str, int],
) -> Converter:
    layout = "Annotations/*.xml JPEGImages/*.jpg {train,val,test}.txt"
    manifest = Manifest(
        name=name,
        title=title,
        tasks=(Task.VG, Task.REG),
        source=source,
        licence="none stated; treat as academic use only",
        layout=layout,
        needs=("Annotations/*.xml", "JPEGImages/*", *(f"{split}.txt" for split in _SPLITS)),
        folders=folders,
        counts=counts,
        counted_task=Task.VG,
        options=("include_overlap",),
        notes=notes,
    )
    return Converter(manifest, partial(find_splits, layout), partial(items, old_counts), samples)


DIOR_RSVG = _converter(
    "dior_rsvg",
    "DIOR-RSVG",
    "https://github.com/ZhanYang-nwpu/RSVG-pytorch (links to the archive)",
    ("DIOR_RSVG", "DIOR-RSVG", "dior_rsvg"),
    {"train": 26_991, "val": 3_829, "test": 7_500},
    "Split by object: training leaves out objects whose image has test objects. The paper trains on train + "
    "val as published (--include-overlap, both splits).",
    # An older division of the same objects circulates under the same file names.
    old_counts={"train": 15_328, "val": 3_832, "test": 19_160},
)
OPT_RSVG = _converter(
    "opt_rsvg",
    "OPT-RSVG",
    "https://github.com/like413/OPT-RSVG (links to the archive)",
    ("OPT_RSVG", "OPT-RSVG", "opt_rsvg"),
    {"train": 19_580, "val": 4_895, "test": 24_477},
    "Split by object, as DIOR-RSVG; some images come from DIOR. Boxes are decimal numbers, image sizes vary.",
    old_counts={},
)

CONVERTERS = (DIOR_RSVG, OPT_RSVG)
