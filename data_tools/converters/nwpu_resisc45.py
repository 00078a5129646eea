"""NWPU-RESISC45: 45 scene classes with 700 images each.

The dataset has no split of its own. The usual one are the lists ``resisc45-{train,val,test}.txt`` (one file
name a line) that torchgeo downloads: where they lie in the root, they decide. Without them the images are
drawn by a rule of our own into splits of the same sizes (420, 140 and 140 per class); such a test split is
not the one that others score on, and the report says so. Either way no test image is in another split.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePath

from data_tools.converter import Converter, Manifest, Settings
from data_tools.files import read_lines
from data_tools.labels import class_key
from data_tools.report import ConversionReport
from data_tools.scenes import (
    Scene,
    class_list,
    find_class_root,
    folder_needs,
    labelled_images,
    samples,
    subfolders,
)
from rsunivlm.tasks import Task

CLASSES = class_list(
    "airplane airport baseball_diamond basketball_court beach bridge chaparral church circular_farmland "
    "cloud commercial_area dense_residential desert forest freeway golf_course ground_track_field harbor "
    "industrial_area intersection island lake meadow medium_residential mobile_home_park mountain overpass "
    "palace parking_lot railway railway_station rectangular_farmland river roundabout runway sea_ice ship "
    "snowberg sparse_residential stadium storage_tank tennis_court terrace thermal_power_station wetland"
)
MANIFEST = Manifest(
    name="nwpu_resisc45",
    title="NWPU-RESISC45",
    tasks=(Task.SC,),
    source="https://gcheng-nwpu.github.io/#Datasets; split lists: "
    "https://storage.googleapis.com/remote_sensing_representations/resisc45-{train,val,test}.txt",
    licence="none stated; treat as academic use only",
    layout="[NWPU-RESISC45/]<class>/<class>_<001..700>.jpg [resisc45-{train,val,test}.txt]",
    needs=folder_needs(CLASSES),
    folders=("NWPU-RESISC45", "NWPU_RESISC45", "nwpu_resisc45", "resisc45"),
    counts={"train": 18_900, "val": 6_300, "test": 6_300},
    notes="Put the lists resisc45-*.txt into the root: without them the split is our own and scores do not "
    "compare. The paper trains on 5,000 images (`samples: 5000` in the mixture) of an unknown split; here "
    "they come from train.",
)
_SPLITS = ("train", "val", "test")
_PER_CLASS = 700
# Test, validation and training images of each class, in the order of the draw.
_BOUNDS = {"test": (0, 140), "val": (140, 280), "train": (280, _PER_CLASS)}


def find_splits(root: Path) -> tuple[str, ...]:
    """Return the three splits.

    Raises:
        ValueError: no class folders, or only some of the lists are there.
    """
    _lists(root, find_class_root(root, CLASSES, MANIFEST.layout))
    return _SPLITS


def items(split: str, settings: Settings, report: ConversionReport) -> Iterator[Scene]:
    """Yield every image of a split."""
    folder = find_class_root(settings.root, CLASSES, MANIFEST.layout)
    if lists := _lists(settings.root, folder):
        yield from _listed(split, lists, folder, settings, report)
    else:
        report.warn(
            "no resisc45-{train,val,test}.txt in the root: the split is our own, its scores do not compare "
            "with published ones"
        )
        yield from _drawn(split, folder, settings, report)


def _listed(
    split: str, lists: dict[str, Path], folder: Path, settings: Settings, report: ConversionReport
) -> Iterator[Scene]:
    folder_of = {class_key(path.name): path.name for path in subfolders(folder)}
    label_of = {class_key(label): label for label in CLASSES}
    tested = set() if split == "test" else set(_names(lists["test"]))
    for name in _names(lists[split]):
        key = class_key(name.rpartition("_")[0])
        if key not in label_of:
            report.skip(f"{lists[split].name} {name}", "the name begins with no class of NWPU-RESISC45")
        elif name in tested:
            report.left_out[f"{split}: the image is in the test list too"] += 1
        else:
            path = folder / folder_of.get(key, key) / name
            yield _scene(split, settings.root, path, label_of[key])


def _drawn(split: str, folder: Path, settings: Settings, report: ConversionReport) -> Iterator[Scene]:
    for label, path in labelled_images(folder, CLASSES, MANIFEST.title, report):
        number = path.stem.rpartition("_")[2]
        if not number.isdecimal() or not 1 <= int(number) <= _PER_CLASS:
            report.skip(path.name, f"is not numbered 1 to {_PER_CLASS}, so it has no place in a split")
        elif int(number) in _draw(label)[split]:
            yield _scene(split, settings.root, path, label)


def _scene(split: str, root: Path, path: Path, label: str) -> Scene:
    return Scene(split, path.stem, path.relative_to(root).as_posix(), label, CLASSES)


@cache
def _draw(label: str) -> dict[str, frozenset[int]]:
    """Image numbers of each split of a class.

    A function of class and number alone: neither the seed of a conversion nor missing files can carry an
    image from one split into another.
    """
    numbers = sorted(range(1, _PER_CLASS + 1), key=lambda number: zlib.crc32(f"{label}/{number}".encode()))
    return {split: frozenset(numbers[start:end]) for split, (start, end) in _BOUNDS.items()}


def _lists(root: Path, folder: Path) -> dict[str, Path]:
    found = {
        split: path
        for split in _SPLITS
        for path in (folder / f"resisc45-{split}.txt", root / f"resisc45-{split}.txt")
        if path.is_file()
    }
    if found and len(found) < len(_SPLITS):
        missing = ", ".join(f"resisc45-{split}.txt" for split in _SPLITS if split not in found)
        raise ValueError(f"{root} has some of the split lists but no {missing}; add it or remove the others")
    return found


def _names(path: Path) -> list[str]:
    # Some copies of the lists carry the class folder as well; the name says all.
    return sorted({PurePath(line).name for line in read_lines(path)})


CONVERTERS = (Converter(MANIFEST, find_splits, items, samples),)
