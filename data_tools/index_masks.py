"""Any folder of images with index masks: a user's own segmentation data.

``images/{stem}.*`` and ``masks/{stem}.*`` of equal size, ``{split}.txt`` with one stem per line, and the
class names by pixel value in ``classes.json`` (``{"0": "unlabeled", "1": "building"}``) or from the command
line.

Values named unlabeled (void, ignore ...) are ignored in scoring and count as background in the text; the rest
class (background, others) is nobody's question.

Training asks for the classes whose text target is not empty (a speck below one grid cell would be taught as
absent) and, if wanted, for some absent ones; evaluation asks for every class of every image, since a
dataset-level IoU must also see what a model invents.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from data_tools.converter import Converter, Manifest, Sample, Settings
from data_tools.files import image_size, read_json, read_mask, require
from data_tools.labels import BACKGROUND, UNLABELLED, class_words
from data_tools.report import ConversionReport
from rsunivlm.data.records import resolve_image
from rsunivlm.tasks import Task

MANIFEST = Manifest(
    name="index_masks",
    title="Your own masks (class numbers as pixel values)",
    tasks=(Task.SS,),
    source="your own",
    licence="your own",
    layout="images/*.jpg masks/*.png {train,val,test}.txt classes.json",
    options=("classes", "absent_labels"),
)
_SPLITS = ("train", "val", "test")


def find_splits(root: Path) -> tuple[str, ...]:
    """Return the names of the ``{split}.txt`` files (names that begin with train, val or test)."""
    require(root, "images", "masks", layout=MANIFEST.layout)
    return tuple(sorted(path.stem for path in root.glob("*.txt") if path.stem.startswith(_SPLITS)))


def read(split: str, settings: Settings, report: ConversionReport) -> Iterator[Sample]:
    """Yield one sample per image and class.

    Raises:
        ValueError: no usable class names.
    """
    root = settings.root
    names = settings.classes if settings.classes is not None else _class_names(root / "classes.json")
    words = {value: class_words(name) for value, name in names.items()}
    ignored = [value for value, name in words.items() if name in UNLABELLED]
    asked = {value: name for value, name in words.items() if name not in UNLABELLED | BACKGROUND}
    if len(ignored) > 1 or not asked or len({*asked.values()}) < len(asked):
        raise ValueError(f"classes {words} must hold distinct names to ask for and at most one unlabelled")
    image_of, mask_of = _by_stem(root / "images"), _by_stem(root / "masks")
    stems = (root / f"{split}.txt").read_text(encoding="utf-8").splitlines()
    for stem in dict.fromkeys(line.strip() for line in stems if line.strip()):
        try:
            if stem not in image_of or stem not in mask_of:
                raise ValueError("image or mask is missing")
            image, mask = f"images/{image_of[stem]}", f"masks/{mask_of[stem]}"
            values_HW = read_mask(resolve_image(root, mask))
            _check_mask(values_HW, image_size(resolve_image(root, image)), names)
        except ValueError as error:
            report.skip(f"{split}.txt {stem}", str(error), samples=len(asked))
            continue
        yield from _samples(f"{split}-{stem}", image, mask, values_HW, asked, ignored, settings)


def _samples(
    name: str,
    image: str,
    mask: str,
    values_HW: np.ndarray,
    asked: Mapping[int, str],
    ignored: list[int],
    settings: Settings,
) -> Iterator[Sample]:
    # Grid ids of the two-class question: 0 others, 1 the class, 2 not annotated.
    unlabelled_HW = np.isin(values_HW, ignored)
    grids = {
        value: settings.masks.to_grid(np.where(unlabelled_HW, 2, values_HW == value), 2, ignore_index=2)
        for value in asked
    }
    absent = [value for value in asked if not (values_HW == value).any()]
    absent.sort(key=lambda value: zlib.crc32(f"{settings.seed}/{name}/{value}".encode()))
    trained = {value for value in asked if grids[value].any()} | {*absent[: settings.absent_labels]}
    for value, label in asked.items():
        labels = ["others", label]
        target = {"mask": mask, "labels": labels, "value": value}
        yield Sample(
            id=f"{name}-{label.replace(' ', '-')}",
            images=(image,),
            task=Task.SS,
            slots={"label": label},
            answers=(settings.masks.grid_to_text(grids[value], labels),),
            target=target | ({"ignore": ignored[0]} if ignored else {}),
            training=value in trained,
        )


def _class_names(path: Path) -> dict[int, str]:
    if not path.is_file():
        raise ValueError(
            f"{path} does not exist; write it or name the classes: --classes 0=background,255=road"
        )
    content = read_json(path)
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content.values()):
        raise ValueError(f"{path} must map pixel values to class names")
    try:
        return {int(value): name for value, name in content.items()}
    except ValueError as error:
        raise ValueError(f"{path}: pixel values must be whole numbers ({error})") from error


def _by_stem(folder: Path) -> dict[str, str]:
    return {path.stem: path.name for path in sorted(folder.iterdir()) if path.is_file()}


def _check_mask(values_HW: np.ndarray, size: tuple[int, int], names: Mapping[int, str]) -> None:
    if values_HW.shape != (size[1], size[0]):
        raise ValueError(
            f"mask is {values_HW.shape[1]} x {values_HW.shape[0]}, its image {size[0]} x {size[1]}"
        )
    unknown = set(np.unique(values_HW).tolist()) - set(names)
    if unknown:
        raise ValueError(f"mask values {sorted(unknown)[:5]} have no class name")


CONVERTER = Converter(MANIFEST, find_splits, read)
