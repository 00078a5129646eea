"""Scene sets with one folder of images per class: AID, WHU-RS19, SIRI-WHU, and a user's own.

The three published sets have no split of their own and only serve for evaluation here: all of their images
are the split ``test``, as in the papers that score on them. Their class lists are fixed, so that an
incomplete copy still asks the same question.

A user's folder of scene classes (`image_folder`) may be split (``train/<class>/``, ``val/``, ``test/``) or
not (``<class>/``: all for training). Its classes are whatever folders there are, over all splits.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from data_tools.converter import Converter, Manifest, Settings
from data_tools.labels import class_key, class_words
from data_tools.report import ConversionReport
from data_tools.scenes import (
    Scene,
    class_list,
    find_class_root,
    folder_needs,
    image_files,
    labelled_images,
    samples,
    subfolders,
)
from rsunivlm.tasks import Task

AID_CLASSES = class_list(
    "Airport BareLand BaseballField Beach Bridge Center Church Commercial DenseResidential Desert Farmland "
    "Forest Industrial Meadow MediumResidential Mountain Park Parking Playground Pond Port RailwayStation "
    "Resort River School SparseResidential Square Stadium StorageTanks Viaduct"
)
WHU_RS19_CLASSES = class_list(
    "Airport Beach Bridge Commercial Desert Farmland footballField Forest Industrial Meadow Mountain Park "
    "Parking Pond Port railwayStation Residential River Viaduct"
)
SIRI_WHU_CLASSES = class_list(
    "agriculture commercial harbor idle_land industrial meadow overpass park pond residential river water"
)
_SPLITS = ("train", "val", "valid", "validation", "test")


def find_test_split(classes: tuple[str, ...], layout: str, root: Path) -> tuple[str, ...]:
    """Return ``test``, the one split of the published sets."""
    find_class_root(root, classes, layout)
    return ("test",)


def published_items(
    classes: tuple[str, ...],
    title: str,
    layout: str,
    split: str,
    settings: Settings,
    report: ConversionReport,
) -> Iterator[Scene]:
    """Yield every image of a published set."""
    folder = find_class_root(settings.root, classes, layout)
    for label, path in labelled_images(folder, classes, title, report):
        yield _scene(split, settings.root, folder, path, label, classes)


def find_own_splits(root: Path) -> tuple[str, ...]:
    """Return the folders called like a split that hold class folders, or ``train`` where there are none.

    Raises:
        ValueError: there are no class folders with images.
    """
    folders = _split_folders(root)
    _own_classes(root, folders)
    return tuple(folders)


def own_items(split: str, settings: Settings, report: ConversionReport) -> Iterator[Scene]:
    """Yield every image of a user's split.

    Raises:
        ValueError: two folders mean the same class, or a folder's name has no letters.
    """
    folders = _split_folders(settings.root)
    classes = _own_classes(settings.root, folders)
    if folders[split] != settings.root:
        for path in subfolders(settings.root):
            if path.name not in folders:
                report.skip(path.name, "lies beside the folders of the splits", len(image_files(path)))
    for label, path in labelled_images(folders[split], classes, f"the split {split}", report):
        yield _scene(split, settings.root, folders[split], path, label, classes)


def _scene(split: str, root: Path, folder: Path, path: Path, label: str, classes: tuple[str, ...]) -> Scene:
    return Scene(
        split, path.relative_to(folder).as_posix(), path.relative_to(root).as_posix(), label, classes
    )


def _split_folders(root: Path) -> dict[str, Path]:
    # A class may be called "test" too; a split has folders in it.
    found = {name: root / name for name in _SPLITS if (root / name).is_dir() and subfolders(root / name)}
    return found or {"train": root}


def _own_classes(root: Path, folders: dict[str, Path]) -> tuple[str, ...]:
    folder_of: dict[str, str] = {}
    for path in (path for folder in folders.values() for path in subfolders(folder) if image_files(path)):
        first = folder_of.setdefault(class_key(path.name), path.name)
        if first != path.name:
            raise ValueError(f"{root}: folders {first!r} and {path.name!r} mean the same class; rename one")
    if not folder_of:
        raise ValueError(f"{root} has no class folders with images; expected layout: {_OWN.layout}")
    return tuple(sorted(class_words(name) for name in folder_of.values()))


def _published(
    classes: tuple[str, ...],
    *,
    name: str,
    title: str,
    source: str,
    layout: str,
    folders: tuple[str, ...],
    count: int,
    notes: str,
) -> Converter:
    manifest = Manifest(
        name=name,
        title=title,
        tasks=(Task.SC,),
        source=source,
        licence="none stated; treat as academic use only",
        layout=layout,
        needs=folder_needs(classes),
        folders=folders,
        counts={"test": count},
        notes=f"Evaluation only: no official split, all images are the split test. {notes}",
    )
    return Converter(
        manifest,
        partial(find_test_split, classes, layout),
        partial(published_items, classes, title, layout),
        samples,
    )


_OWN = Manifest(
    name="image_folder",
    title="Your own scene classes (one folder per class)",
    tasks=(Task.SC,),
    source="your own",
    licence="your own",
    layout="<class>/*.jpg (all for training) or {train,val,test}/<class>/*.jpg; also png, tif, bmp",
    needs=("*/*",),
    notes="Classes are the folders' names in words, over all splits, and the question lists them all.",
)

CONVERTERS = (
    _published(
        AID_CLASSES,
        name="aid",
        title="AID",
        source="https://captain-whu.github.io/AID/",
        layout="<Class>/<class>_<n>.jpg for 30 classes",
        folders=("AID", "aid"),
        count=10_000,
        notes="RSICD holds the same images, resized: its classes stay out of training by default.",
    ),
    _published(
        WHU_RS19_CLASSES,
        name="whu_rs19",
        title="WHU-RS19",
        source="https://captain-whu.github.io/BED4RS/",
        layout="<Class>/*.jpg for 19 classes",
        folders=("WHU-RS19", "WHU_RS19", "whu_rs19"),
        count=1_005,
        notes="File names differ between copies; the class is read from the folder alone.",
    ),
    _published(
        SIRI_WHU_CLASSES,
        name="siri_whu",
        title="SIRI-WHU (Google image dataset)",
        source="http://www.lmars.whu.edu.cn/prof_web/zhongyanfei/e-code.html",
        layout="<class>/*.tif for 12 classes (usually below 12class_tif)",
        folders=("SIRI-WHU", "SIRI_WHU", "siri_whu", "Google dataset of SIRI-WHU_earth_im_tiff"),
        count=2_400,
        notes="Folders count as a class whatever their case and whether words are parted by _ or a blank.",
    ),
    Converter(_OWN, find_own_splits, own_items, samples),
)
