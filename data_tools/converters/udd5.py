"""UDD5: urban drone photographs of 4096 x 2160 or 4000 x 3000 pixels, taken whole.

The published scores are those of its validation split, which is therefore the test split here: nothing of it
is written in training form.
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

_MEANING = legend({0: "vegetation", 1: "building", 2: "road", 3: "vehicle", 4: "other"})
MANIFEST = Manifest(
    name="udd5",
    title="UDD5",
    tasks=(Task.SS,),
    source="https://github.com/MarcWong/UDD (links to the archive)",
    licence="non-commercial",
    layout="{train,val}/{src/*.JPG,gt/*.png}",
    needs=("train/src/*", "train/gt/*", "val/src/*", "val/gt/*"),
    folders=("UDD5", "udd5"),
    counts={"test": 40 * len(_MEANING.asked)},
    options=("absent_labels",),
    notes="Its val split, which is what is scored, is the test split here; other is not asked for.",
)
_FOLDERS = {"train": "train", "test": "val"}


def find_splits(root: Path) -> tuple[str, ...]:
    """Return the splits that have label images."""
    return tuple(split for split, folder in _FOLDERS.items() if (root / folder / "gt").is_dir())


def items(split: str, settings: Settings, report: ConversionReport) -> Iterator[LabelledFiles]:
    """Yield every photograph of a split."""
    folder = _FOLDERS[split]
    yield from paired(settings.root, split, (f"{folder}/src",), f"{folder}/gt")


CONVERTERS = (Converter(MANIFEST, find_splits, items, partial(whole_samples, _MEANING)),)
