"""RSICD: five captions per image, and a scene class per image.

The class comes from ``classes_rsicd.json`` ({file name: class}) or, without that file, from the lists
``txtclasses_rsicd/{class}.txt``; where these say nothing, from the file name's prefix (``airport_12.jpg``).
Numeric file names have no prefix: without the lists they give captions only.

Leak: the images with a class in their name are AID's, resized. Their classes stay out of the training files
unless asked for (``--include-overlap``), so that AID remains a test set.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from data_tools.captions import read_entries
from data_tools.converter import Converter, Manifest, Settings
from data_tools.converters.class_folders import AID_CLASSES
from data_tools.files import read_json, read_lines, require
from data_tools.labels import class_key
from data_tools.report import ConversionReport
from data_tools.scenes import Scene, samples
from rsunivlm.tasks import Task

CLASSES = tuple(sorted({*AID_CLASSES, "playfields"}))
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
    notes="10,000 of 10,921 images are AID images: SC training takes the other 921 unless --include-overlap. "
    "All captions are trained on.",
)
_ANNOTATIONS = "dataset_rsicd.json"
_CLASSES = "classes_rsicd.json"
_CLASS_LISTS = "txtclasses_rsicd"
_IN_AID = "SC training: the image is in AID (--include-overlap takes it)"


def find_splits(root: Path) -> tuple[str, ...]:
    """Return the values of the split field."""
    require(root, "RSICD_images", _ANNOTATIONS, layout=MANIFEST.layout)
    return tuple(sorted({entry["split"] for entry in read_entries(root / _ANNOTATIONS)}))


def items(split: str, settings: Settings, report: ConversionReport) -> Iterator[Scene]:
    """Yield every image of a split.

    Raises:
        ValueError: ``classes_rsicd.json`` is malformed.
    """
    class_of = _classes(settings.root)
    label_of = {class_key(label): label for label in CLASSES}
    for entry in read_entries(settings.root / _ANNOTATIONS):
        if entry["split"] != split:
            continue
        filename = entry["filename"]
        stem = Path(filename).stem
        name = class_of.get(filename) or filename.rpartition("_")[0]
        label = label_of.get(class_key(name), "")
        if not name:
            report.left_out["SC: no class known (see classes_rsicd.json or txtclasses_rsicd)"] += 1
        elif not label:
            report.skip(f"class of {filename}", f"{name!r} is no class of RSICD")
        yield Scene(
            split=split,
            name=stem,
            image=f"RSICD_images/{filename}",
            label=label,
            classes=CLASSES,
            entry=entry,
            untrained="" if settings.include_overlap or stem.isdigit() else _IN_AID,
        )


def _classes(root: Path) -> dict[str, str]:
    """Class names by file name, as far as a list has them."""
    if (root / _CLASSES).is_file():
        content = read_json(root / _CLASSES)
        if not isinstance(content, dict) or not all(isinstance(name, str) for name in content.values()):
            raise ValueError(f"{root / _CLASSES} must map file names to class names")
        return content
    return {
        filename: path.stem
        for path in sorted((root / _CLASS_LISTS).glob("*.txt"))
        for filename in read_lines(path)
    }


CONVERTERS = (Converter(MANIFEST, find_splits, items, samples),)
