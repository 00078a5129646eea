"""LoveDA: land cover of urban and rural Chinese scenes, 1024 x 1024 at 0.3 m.

Images are taken whole: 2,522 of them with about 3.2 classes each are the paper's 8k questions.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from data_tools.converter import Converter, Manifest, Settings
from data_tools.labelled_images import LabelledFiles, paired, whole_samples
from data_tools.report import ConversionReport
from data_tools.segmentation import legend
from rsunivlm.tasks import Task

_MEANING = legend(
    {
        0: "no data",
        1: "background",
        2: "building",
        3: "road",
        4: "water",
        5: "barren",
        6: "forest",
        7: "agriculture",
    }
)
MANIFEST = Manifest(
    name="loveda",
    title="LoveDA",
    tasks=(Task.SS,),
    source="https://github.com/Junjue-Wang/LoveDA (links to the archives)",
    licence="CC BY-NC-SA 4.0",
    layout="{Train,Val}/{Urban,Rural}/{images_png,masks_png}/*.png",
    needs=tuple(
        f"{split}/{scene}/{kind}/*.png"
        for split in ("Train", "Val")
        for scene in ("Urban", "Rural")
        for kind in ("images_png", "masks_png")
    ),
    folders=("LoveDA", "loveDA", "loveda"),
    counts={"train": 2_522 * len(_MEANING.asked), "val": 1_669 * len(_MEANING.asked)},
    options=("absent_labels",),
    notes="No-data pixels are ignored, background is not asked for; the test labels are not public.",
)
_FOLDERS = {"train": "Train", "val": "Val"}


def find_splits(root: Path) -> tuple[str, ...]:
    """Return the splits that have masks."""
    return tuple(split for split, folder in _FOLDERS.items() if any(root.glob(f"{folder}/*/masks_png")))


def items(split: str, settings: Settings, report: ConversionReport) -> Iterator[LabelledFiles]:
    """Yield every image of a split."""
    for scene in ("Rural", "Urban"):
        folder = f"{_FOLDERS[split]}/{scene}"
        yield from paired(
            settings.root, split, (f"{folder}/images_png",), f"{folder}/masks_png", prefix=f"{scene}-"
        )


CONVERTERS = (Converter(MANIFEST, find_splits, items, partial(whole_samples, _MEANING)),)
