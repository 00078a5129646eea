"""LEVIR-MCI: pairs of images with five change captions and a mask of changed buildings and roads.

The mask's first channel holds 0 background, 128 road, 255 building. Every pair gives one change-detection
question about buildings (also unchanged pairs: "nothing" must be learnt too) and, where roads changed, one
about roads. A pair without captions (listed in ``no_captions.json``, if there is one) gives masks only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.captions import captions, read_entries
from data_tools.converter import Converter, Manifest, Sample, Settings
from data_tools.files import image_size, read_mask, require
from data_tools.report import ConversionReport
from data_tools.segmentation import check_mask
from rsunivlm.data.records import resolve_image
from rsunivlm.tasks import Task

MANIFEST = Manifest(
    name="levir_mci",
    title="LEVIR-MCI (LEVIR-CC captions and change masks)",
    tasks=(Task.CC, Task.CD),
    source="https://huggingface.co/datasets/lcybuaa/LEVIR-MCI",
    licence="academic use only; imagery of Google Earth",
    layout="LevirCCcaptions.json images/{train,val,test}/{A,B,label}/{split}_000001.png",
    needs=("LevirCCcaptions.json", "images/train/A/*", "images/train/B/*", "images/train/label/*"),
    folders=("LEVIR-MCI-dataset", "Levir-MCI-dataset", "LEVIR-MCI", "levir_mci"),
    counts={"train": 6_815, "val": 1_333, "test": 1_929},
    counted_task=Task.CC,
    notes="5 captions and one building mask per pair give the paper's 40k (40,890) training samples.",
)
_ANNOTATIONS = "LevirCCcaptions.json"
_WITHOUT_CAPTIONS = "no_captions.json"
_BACKGROUND, _ROAD, _BUILDING = 0, 128, 255


def find_splits(root: Path) -> tuple[str, ...]:
    """Return the splits that have a folder of images."""
    require(root, _ANNOTATIONS, "images", layout=MANIFEST.layout)
    return tuple(split for split in MANIFEST.counts if (root / "images" / split / "A").is_dir())


@dataclass(frozen=True)
class _Item:
    """One pair: its split and its annotation."""

    split: str
    entry: dict[str, Any]


def items(split: str, settings: Settings, report: ConversionReport) -> Iterator[_Item]:
    """Yield every pair of a split."""
    entries = read_entries(settings.root / _ANNOTATIONS)
    if (settings.root / _WITHOUT_CAPTIONS).is_file():
        entries += read_entries(settings.root / _WITHOUT_CAPTIONS)
    yield from (_Item(split, entry) for entry in entries if entry["split"] == split)


def samples(item: _Item, settings: Settings, report: ConversionReport) -> Iterator[Sample]:
    """Yield a change captioning sample and the change detection samples of a pair."""
    root, split, entry = settings.root, item.split, item.entry
    filename = entry["filename"]
    name = f"{split}-{Path(filename).stem}"
    folder = f"images/{entry.get('filepath', split)}"
    try:
        images = tuple(f"{folder}/{side}/{filename}" for side in "AB")
        sizes = [image_size(resolve_image(root, image)) for image in images]
        if sizes[0] != sizes[1]:
            raise ValueError(f"the two images differ in size: {sizes[0]} and {sizes[1]}")
    except ValueError as error:
        report.skip(f"{folder}/A|B/{filename}", str(error), samples=2)
        return
    if sentences := captions(entry, report):
        yield Sample(
            id=name,
            images=images,
            task=Task.CC,
            slots={},
            answers=sentences,
            target={"references": list(sentences), "changed": bool(entry.get("changeflag"))},
        )
    try:
        mask = f"{folder}/label/{_label_name(root / folder, entry)}"
        values_HW = read_mask(resolve_image(root, mask))
        check_mask(values_HW, sizes[0], (_BACKGROUND, _ROAD, _BUILDING))
    except ValueError as error:
        report.skip(f"{folder}/label of {filename}", str(error))
        return
    for label, value in (("building", _BUILDING), ("road", _ROAD)):
        changed_HW = values_HW == value
        if label == "road" and not changed_HW.any():
            continue
        labels = ["others", label]
        yield Sample(
            id=f"{name}-{label}",
            images=images,
            task=Task.CD,
            slots={"label": label},
            answers=(settings.masks.encode(changed_HW.astype(np.int32), labels),),
            target={"mask": mask, "labels": labels, "value": value},
        )


def _label_name(folder: Path, entry: dict[str, Any]) -> str:
    # The download has labels named like the images; copies with JPEG images keep their labels as PNG.
    if "label" in entry:
        return str(entry["label"])
    lossless = f"{Path(entry['filename']).stem}.png"
    return lossless if (folder / "label" / lossless).is_file() else str(entry["filename"])


CONVERTERS = (Converter(MANIFEST, find_splits, items, samples),)
