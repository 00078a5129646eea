"""UAVid: oblique street scenes from a drone, 4K frames of video sequences with colour-coded labels.

A frame is cut into 4 x 2 crops of 1080 x 1080 (the last column is moved back to the border), which gives the
paper's 8k training questions: 200 frames x 8 crops x about 5 classes. Moving and static cars become one
class: a single picture does not show which of the two a car is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from data_tools.converter import Converter, Manifest, Sample, Settings
from data_tools.crops import Window, windows
from data_tools.labelled_images import LabelledFiles, cut, paired
from data_tools.report import ConversionReport
from data_tools.segmentation import legend, mask_samples
from rsunivlm.tasks import Task

_SIDE = 1080
_CROPS = 8
_MEANING = legend(
    {
        0: "clutter",
        1: "building",
        2: "road",
        3: "car",
        4: "tree",
        5: "low vegetation",
        6: "human",
    },
    palette={
        (0, 0, 0): 0,
        (128, 0, 0): 1,
        (128, 64, 128): 2,
        (192, 0, 192): 3,
        (64, 0, 128): 3,
        (0, 128, 0): 4,
        (128, 128, 0): 5,
        (64, 64, 0): 6,
    },
)
MANIFEST = Manifest(
    name="uavid",
    title="UAVid",
    tasks=(Task.SS,),
    source="https://uavid.nl",
    licence="CC BY-NC-SA 4.0 as reported; check with the source",
    layout="uavid_{train,val}/seq*/{Images,Labels}/*.png",
    needs=("uavid_train/seq*/Images/*.png", "uavid_train/seq*/Labels/*.png"),
    folders=("UAVid", "uavid", "uavid_v1.5_official_release_image"),
    counts={"train": 200 * _CROPS * len(_MEANING.asked), "val": 70 * _CROPS * len(_MEANING.asked)},
    options=("crop", "absent_labels"),
    makes_images=True,
    chunk_items=1,
    notes="Static and moving cars are one class, clutter is asked for; the test labels are not public.",
)


def find_splits(root: Path) -> tuple[str, ...]:
    """Return the splits that have labels."""
    return tuple(split for split in MANIFEST.counts if any(root.glob(f"uavid_{split}/seq*/Labels/*.png")))


def items(split: str, settings: Settings, report: ConversionReport) -> Iterator[LabelledFiles]:
    """Yield every frame of a split."""
    for sequence in sorted((settings.root / f"uavid_{split}").glob("seq*")):
        folder = f"uavid_{split}/{sequence.name}"
        yield from paired(
            settings.root, split, (f"{folder}/Images",), f"{folder}/Labels", prefix=f"{sequence.name}_"
        )


def samples(item: LabelledFiles, settings: Settings, report: ConversionReport) -> Iterator[Sample]:
    """Yield one question per class about every crop of a frame."""

    def crops(size: tuple[int, int]) -> Iterator[tuple[str, Window]]:
        for window in windows(size, settings.crop or _SIDE):
            yield f"{item.name}_{window}", window

    for found in cut(item, crops, _CROPS, _MEANING, settings, report):
        yield from mask_samples(found, _MEANING, settings)


CONVERTERS = (Converter(MANIFEST, find_splits, items, samples),)
