"""RSICD: five captions per image, and a scene class per image.

The class comes from the first place that has it: ``classes_rsicd.json`` ({file name: class}), the file name's
prefix (``airport_12.jpg``), or the lists in ``txtclasses_rsicd/{class}.txt``. Numeric file names have no
prefix; without either list they give captions only.

Leak: the images with a class in their name are AID's, resized. Their classes stay out of the training files
unless asked for (``--include-overlap``), so that AID remains a test set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_tools.captions import captions, read_entries
from data_tools.converter import Converter, Manifest, Sample, Settings
from data_tools.files import image_size, read_json, require
from data_tools.labels import class_words
from data_tools.report import ConversionReport
from rsunivlm.data.records import resolve_image
from rsunivlm.tasks import Task

MANIFEST = Manifest(
    name="rsicd",
    title="RSICD",
    tasks=(Task.CAP, Task.SC),
    source="https://github.com/201528014227051/RSICD_optimal",
    licence="none stated; treat as academic use only",
    layout="RSICD_images/*.jpg dataset_rsicd.json [classes_rsicd.json | txtclasses_rsicd/*.txt]",
    needs=("RSICD_images/*", "dataset_rsicd.json"),
    folders=("RSICD", "RSICD_optimal", "rsicd"),
    counts={"train": 8_734, "val": 1_094, "test": 1_093},
    counted_task=Task.CAP,
    options=("include_overlap",),
    notes="10,000 of 10,921 images are AID images: SC training takes the other 921 unless --include-overlap.",
)
_ANNOTATIONS = "dataset_rsicd.json"
_CLASSES = "classes_rsicd.json"
_CLASS_LISTS = "txtclasses_rsicd"


def find_splits(root: Path) -> tuple[str, ...]:
    """Return the values of the split field."""
    require(root, "RSICD_images", _ANNOTATIONS, layout=MANIFEST.layout)
    return tuple(sorted({entry["split"] for entry in read_entries(root / _ANNOTATIONS)}))


@dataclass(frozen=True)
class _Item:
    """One image: its annotation, its class ("" when unknown) and all classes as the prompt lists them."""

    split: str
    entry: dict[str, Any]
    label: str
    classes: tuple[str, ...]


def items(split: str, settings: Settings, report: ConversionReport) -> Iterator[_Item]:
    """Yield every image of a split."""
    entries = read_entries(settings.root / _ANNOTATIONS)
    class_of = _classes(settings.root, [entry["filename"] for entry in entries])
    classes = tuple(sorted(set(class_of.values())))
    for entry in entries:
        if entry["split"] == split:
            yield _Item(split, entry, class_of.get(entry["filename"], ""), classes)


def samples(item: _Item, settings: Settings, report: ConversionReport) -> Iterator[Sample]:
    """Yield a captioning and, where the class is known, a classification sample."""
    filename, split = item.entry["filename"], item.split
    stem = Path(filename).stem
    image = f"RSICD_images/{filename}"
    try:
        image_size(resolve_image(settings.root, image))
    except ValueError as error:
        report.skip(filename, str(error), samples=2)
        return
    if sentences := captions(item.entry, report):
        yield Sample(
            id=f"{split}-{stem}",
            images=(image,),
            task=Task.CAP,
            slots={},
            answers=sentences,
            target={"references": list(sentences)},
        )
    if not item.label:
        report.left_out["no class known for SC (see classes_rsicd.json or txtclasses_rsicd)"] += 1
        return
    training = settings.include_overlap or stem.isdigit()
    if not training and not split.startswith("test"):
        report.left_out["SC training: the image is in AID (--include-overlap takes it)"] += 1
    yield Sample(
        id=f"{split}-{stem}-sc",
        images=(image,),
        task=Task.SC,
        slots={"classes": ", ".join(item.classes)},
        answers=(item.label,),
        target={"label": item.label, "classes": list(item.classes)},
        training=training,
    )


def _classes(root: Path, filenames: list[str]) -> dict[str, str]:
    if (root / _CLASSES).is_file():
        content = read_json(root / _CLASSES)
        if not isinstance(content, dict) or not all(isinstance(name, str) for name in content.values()):
            raise ValueError(f"{root / _CLASSES} must map file names to class names")
        return {filename: class_words(name) for filename, name in content.items()}
    listed = {
        filename.strip(): path.stem
        for path in sorted((root / _CLASS_LISTS).glob("*.txt"))
        for filename in path.read_text(encoding="utf-8").splitlines()
    }
    prefixes = {name: name.rpartition("_")[0] for name in filenames if "_" in name}
    return {
        filename: class_words(name) for filename, name in (listed | prefixes).items() if filename and name
    }


CONVERTERS = (Converter(MANIFEST, find_splits, items, samples),)
