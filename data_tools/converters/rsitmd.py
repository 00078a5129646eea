"""RSITMD: five captions per image, and a scene class in the file name (``airport_5.tif``).

Leak: 30 of the 33 classes are AID's, and part of the images were taken over from RSICD, which holds AID's
images. Which ones cannot be told by name: RSITMD's numbers run over the whole dataset, so that the 309 file
names it shares with RSICD only happen to be equal. To keep AID a test set, the 30 classes stay out of the
training files unless asked for (``--include-overlap``).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from data_tools.captions import read_entries
from data_tools.converter import Converter, Manifest, Settings
from data_tools.converters.class_folders import AID_CLASSES
from data_tools.files import require
from data_tools.labels import class_key
from data_tools.report import ConversionReport
from data_tools.scenes import Scene, samples
from rsunivlm.tasks import Task

CLASSES = tuple(sorted({*AID_CLASSES, "boat", "intersection", "plane"}))
MANIFEST = Manifest(
    name="rsitmd",
    title="RSITMD",
    tasks=(Task.CAP, Task.SC),
    source="https://github.com/xiaoyuan1996/AMFMN (links to the archive)",
    licence="none stated; treat as academic use only",
    layout="images/*.tif dataset_RSITMD.json",
    needs=("images/*", "dataset_RSITMD.json"),
    folders=("RSITMD", "rsitmd"),
    counts={"train": 4_291, "test": 452},
    counted_task=Task.CAP,
    options=("include_overlap",),
    notes="30 of 33 classes are AID's, and images may be: SC training takes boat, intersection and plane "
    "alone unless --include-overlap (the paper trains on 2,000 images). All captions are trained on.",
)
_ANNOTATIONS = "dataset_RSITMD.json"
_IN_AID = "SC training: a class of AID, so it may be an image of AID (--include-overlap takes it)"


def find_splits(root: Path) -> tuple[str, ...]:
    """Return the values of the split field."""
    require(root, "images", _ANNOTATIONS, layout=MANIFEST.layout)
    return tuple(sorted({entry["split"] for entry in read_entries(root / _ANNOTATIONS)}))


def items(split: str, settings: Settings, report: ConversionReport) -> Iterator[Scene]:
    """Yield every image of a split."""
    label_of = {class_key(label): label for label in CLASSES}
    for entry in read_entries(settings.root / _ANNOTATIONS):
        if entry["split"] != split:
            continue
        filename = entry["filename"]
        label = label_of.get(class_key(filename.rpartition("_")[0]), "")
        if not label:
            report.skip(f"class of {filename}", "the name begins with no class of RSITMD")
        yield Scene(
            split=split,
            name=Path(filename).stem,
            image=f"images/{filename}",
            label=label,
            classes=CLASSES,
            entry=entry,
            untrained=_IN_AID if label in AID_CLASSES and not settings.include_overlap else "",
        )


CONVERTERS = (Converter(MANIFEST, find_splits, items, samples),)
