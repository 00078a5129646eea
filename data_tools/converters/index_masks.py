"""Any folder of images with index masks: a user's own segmentation data.

``images/{stem}.*`` and ``masks/{stem}.*`` of equal size, ``{split}.txt`` with one stem per line, and the
class names by pixel value in ``classes.json`` (``{"0": "unlabeled", "1": "building"}``) or from the command
line.

What is asked and what is ignored: see `data_tools.segmentation`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from data_tools.converter import Converter, Manifest, Sample, Settings
from data_tools.files import image_size, read_json, read_mask, require
from data_tools.report import ConversionReport
from data_tools.segmentation import check_mask, mask_samples, sort_classes
from rsunivlm.data.records import resolve_image
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
class _Item:
    """One picture and its label image ("" where missing), with the class names by value."""

    split: str
    stem: str
    image: str
    mask: str
    names: Mapping[int, str]


def items(split: str, settings: Settings, report: ConversionReport) -> Iterator[_Item]:
    """Yield every picture of a split.

    Raises:
        ValueError: no usable class names.
    """
    root = settings.root
    names = settings.classes if settings.classes is not None else _class_names(root / "classes.json")
    sort_classes(names)
    image_of, mask_of = _by_stem(root / "images"), _by_stem(root / "masks")
    stems = (root / f"{split}.txt").read_text(encoding="utf-8").splitlines()
    for stem in dict.fromkeys(line.strip() for line in stems if line.strip()):
        yield _Item(split, stem, image_of.get(stem, ""), mask_of.get(stem, ""), names)


def samples(item: _Item, settings: Settings, report: ConversionReport) -> Iterator[Sample]:
    """Yield one sample per class."""
    asked, ignored = sort_classes(item.names)
    image, mask = f"images/{item.image}", f"masks/{item.mask}"
    try:
        if not item.image or not item.mask:
            raise ValueError("image or mask is missing")
        values_HW = read_mask(resolve_image(settings.root, mask))
        check_mask(values_HW, image_size(resolve_image(settings.root, image)), item.names)
    except ValueError as error:
        report.skip(f"{item.split}.txt {item.stem}", str(error), samples=len(asked))
        return
    name = f"{item.split}-{item.stem}"
    yield from mask_samples(name, image, mask, values_HW, asked, ignored, settings)


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


CONVERTERS = (Converter(MANIFEST, find_splits, items, samples),)
