"""Any folder of before/after pairs with change masks: a user's own change detection data.

``A/{stem}.*`` before, ``B/{stem}.*`` after and ``label/{stem}.*``, of equal size. Splits are lists of stems
or file names (``{split}.txt`` or ``list/{split}.txt``), or folders (``{split}/A`` ...); without either, all
pairs are training data. The kinds of change by pixel value stand in ``classes.json``
(``{"0": "background", "255": "building"}``) or come from the command line.

Every pair is asked for every kind of change: that nothing has changed must be learnt too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data_tools.converter import Converter, Manifest, Sample, Settings
from data_tools.files import read_lines
from data_tools.labelled_images import (
    SUFFIXES,
    LabelledFiles,
    named_classes,
    of_stem,
    pictures,
    read_whole,
)
from data_tools.report import ConversionReport
from data_tools.segmentation import Legend, change_samples
from rsunivlm.tasks import Task

MANIFEST = Manifest(
    name="change_pairs",
    title="Your own before/after pairs",
    tasks=(Task.CD,),
    source="your own",
    licence="your own",
    layout="{A,B,label}/*.png [list/]{train,val,test}.txt classes.json, or "
    "{train,val,test}/{A,B,label}/*.png classes.json",
    needs=("A/*|*/A/*", "B/*|*/B/*", "label/*|*/label/*"),
    options=("classes",),
)
_SIDES = ("A", "B", "label")
_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class _Item:
    """One pair and its label image, with what that means."""

    files: LabelledFiles
    meaning: Legend


def find_splits(root: Path) -> tuple[str, ...]:
    """Return the names of the lists or of the folders (names that begin with train, val or test)."""
    if (root / "A").is_dir():
        return tuple(sorted(_lists(root))) or ("train",)
    found = sorted(path.parent.name for path in root.glob("*/A") if path.is_dir())
    return tuple(name for name in found if name.startswith(_SPLITS))


def items(split: str, settings: Settings, report: ConversionReport) -> Iterator[_Item]:
    """Yield every pair of a split.

    Raises:
        ValueError: no usable names of the kinds of change.
    """
    root, meaning = settings.root, named_classes(settings)
    folders = _SIDES if (root / "A").is_dir() else tuple(f"{split}/{side}" for side in _SIDES)
    names = {folder: pictures(root / folder) for folder in folders}
    listed = _lists(root).get(split)
    stems = _stems(listed) if listed else sorted(set().union(*names.values()))
    for stem in stems:
        yield _Item(of_stem(stem, split, names), meaning)


def samples(item: _Item, settings: Settings, report: ConversionReport) -> Iterator[Sample]:
    """Yield one question per kind of change."""
    for found in read_whole(item.files, item.meaning, settings, report):
        yield from change_samples(found, item.meaning, settings)


def _lists(root: Path) -> dict[str, Path]:
    paths = [*root.glob("*.txt"), *(root / "list").glob("*.txt")]
    return {path.stem: path for path in paths if path.stem.startswith(_SPLITS)}


def _stems(path: Path) -> list[str]:
    # Lists of file names and lists of stems are both in use; a stem may itself hold dots.
    return [Path(line).stem if Path(line).suffix.lower() in SUFFIXES else line for line in read_lines(path)]


CONVERTERS = (Converter(MANIFEST, find_splits, items, samples),)
