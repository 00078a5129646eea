"""Any folder of images with index masks: a user's own segmentation data.

``images/{stem}.*`` and ``masks/{stem}.*`` of equal size, ``{split}.txt`` with one stem per line, and the
class names by pixel value in ``classes.json`` (``{"0": "unlabeled", "1": "building"}``) or from the command
line.

What is asked and what is ignored: see `data_tools.segmentation`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from data_tools.converter import Converter, Manifest, Sample, Settings
from data_tools.files import read_lines, require
from data_tools.labelled_images import LabelledFiles, named_classes, of_stem, pictures, whole_samples
from data_tools.report import ConversionReport
from data_tools.segmentation import Legend
from rsunivlm.tasks import Task

MANIFEST = Manifest(
    name="index_masks",
    title="Your own masks (class numbers as pixel values)",
    tasks=(Task.SS,),
    source="your own",
    licence="your own",
    layout="images/*.jpg masks/*.png {train,val,test}.txt classes.json",
    needs=("images/*", "masks/*", "*.txt"),
    options=("classes", "absent_labels"),
)
_SPLITS = ("train", "val", "test")


def find_splits(root: Path) -> tuple[str, ...]:
    """Return the names of the ``{split}.txt`` files (names that begin with train, val or test)."""
    require(root, "images", "masks", layout=MANIFEST.layout)
    return tuple(sorted(path.stem for path in root.glob("*.txt") if path.stem.startswith(_SPLITS)))


@dataclass(frozen=True)
class Item:
    """One picture and its label image, with what that means."""

    files: LabelledFiles
    meaning: Legend


def items(
    classes: Callable[[Settings], Legend], split: str, settings: Settings, report: ConversionReport
) -> Iterator[Item]:
    """Yield every picture that the list of a split names.

    Raises:
        ValueError: no usable class names (`classes` reads them).
    """
    meaning = classes(settings)
    names = {folder: pictures(settings.root / folder) for folder in ("images", "masks")}
    for stem in read_lines(settings.root / f"{split}.txt"):
        yield Item(of_stem(stem, split, names), meaning)


def samples(item: Item, settings: Settings, report: ConversionReport) -> Iterator[Sample]:
    """Yield one question per class."""
    yield from whole_samples(item.meaning, item.files, settings, report)


CONVERTERS = (Converter(MANIFEST, find_splits, partial(items, named_classes), samples),)
