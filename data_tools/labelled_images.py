"""From files to labelled pictures: whole ones where they lie, or crops cut out of large rasters.

Converters of mask datasets find out which picture belongs to which label image (`LabelledFiles`); reading,
checking, cutting and reporting what is bad is done here for all of them. The questions come after that, in
`data_tools.segmentation`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from data_tools.converter import Sample, Settings
from data_tools.crops import Raster, Window, open_raster, save_crop
from data_tools.files import image_size, read_colours, read_json, read_mask
from data_tools.report import ConversionReport
from data_tools.segmentation import Labelled, Legend, check_size, legend, mask_samples
from rsunivlm.data.records import resolve_image

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
# From the size of a raster to the crops to make of it, with their names.
Cuts = Callable[[tuple[int, int]], Iterable[tuple[str, Window]]]


@dataclass(frozen=True)
class LabelledFiles:
    """A picture, or a pair of the same ground, and its label image, as paths relative to the root.

    Attributes:
        split: which split.
        name: unique within the split; begins the samples' ids.
        images: one picture or two; "" for one that is missing.
        mask: "" where missing.
    """

    split: str
    name: str
    images: tuple[str, ...]
    mask: str

    @property
    def file(self) -> str:
        """How a report names it."""
        return next(filter(None, (*self.images, self.mask)), f"{self.split} {self.name}")


def pictures(folder: Path) -> dict[str, str]:
    """File names of the pictures in a folder by their stems, in sorted order; {} if there is no folder."""
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return {
        path.stem: path.name
        for path in found
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    }


def paired(
    root: Path, split: str, images: tuple[str, ...], masks: str, prefix: str = ""
) -> Iterator[LabelledFiles]:
    """Yield what lies under one stem in some folders, whatever the suffixes.

    Args:
        root: of the dataset.
        split: which split they belong to.
        images: the folder of the pictures, or two for pairs, relative to the root.
        masks: the folder of the label images.
        prefix: put before the stems to make names.
    """
    names = {folder: pictures(root / folder) for folder in (*images, masks)}
    for stem in sorted(set().union(*names.values())):
        yield of_stem(stem, split, names, prefix)


def of_stem(stem: str, split: str, names: Mapping[str, Mapping[str, str]], prefix: str = "") -> LabelledFiles:
    """What lies under one stem in folders whose `pictures` are given, the label images' folder last."""
    *images, mask = (f"{folder}/{found[stem]}" if stem in found else "" for folder, found in names.items())
    return LabelledFiles(split, f"{prefix}{stem}", tuple(images), mask)


def named_classes(settings: Settings) -> Legend:
    """The classes of a user's own masks: those of ``--classes``, or those in the root's ``classes.json``.

    Raises:
        ValueError: there are none, or they are no usable names of pixel values.
    """
    if settings.classes is not None:
        return legend(settings.classes)
    path = settings.root / "classes.json"
    content = read_class_file(path)
    try:
        names = {int(value): name for value, name in content.items()}
    except ValueError as error:
        raise ValueError(
            f"{path}: pixel values must be whole numbers ({error}); colours are for colour_masks"
        ) from error
    return legend(names)


def read_class_file(path: Path) -> dict[str, str]:
    """Read ``classes.json``: what stands in the label images -> class name.

    Raises:
        ValueError: it is missing or holds something else.
    """
    if not path.is_file():
        raise ValueError(
            f"{path} does not exist; write it or name the classes: --classes 0=background,255=road"
        )
    content = read_json(path)
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content.values()):
        raise ValueError(f"{path} must map pixel values to class names")
    return content


def whole_samples(
    meaning: Legend, files: LabelledFiles, settings: Settings, report: ConversionReport
) -> Iterator[Sample]:
    """Yield one segmentation question per class about a picture that is taken as it lies."""
    for found in read_whole(files, meaning, settings, report):
        yield from mask_samples(found, meaning, settings)


def read_whole(
    files: LabelledFiles,
    meaning: Legend,
    settings: Settings,
    report: ConversionReport,
    lost: int | None = None,
) -> Iterator[Labelled]:
    """Yield the labelled picture, where it lies, unless something is wrong with it.

    Args:
        files: the picture.
        meaning: of the label image.
        settings: of the conversion.
        report: takes what is bad.
        lost: samples lost with a bad picture; by default one per class.
    """
    try:
        images, mask = _resolve(files, settings.root)
        pixels = read_colours(mask) if meaning.palette else read_mask(mask)
        for image in images:
            check_size(pixels, image_size(image))
        values_HW, _ = meaning.read(pixels)
    except ValueError as error:
        report.skip(files.file, str(error), samples=lost or len(meaning.asked))
        return
    yield Labelled(f"{files.split}-{files.name}", files.images, files.mask, values_HW)


def cut(
    files: LabelledFiles,
    cuts: Cuts,
    usual: int,
    meaning: Legend,
    settings: Settings,
    report: ConversionReport,
) -> Iterator[Labelled]:
    """Cut crops out of a labelled raster; pictures and masks go below `Settings.out`.

    Pictures that an interrupted conversion has cut already are not cut again.

    Args:
        files: the raster.
        cuts: which crops.
        usual: how many crops such a raster gives; says how much is lost with one that cannot be opened.
        meaning: of the label image; the masks of the crops hold its values.
        settings: of the conversion.
        report: takes what is bad.
    """
    with ExitStack() as stack:
        try:
            image_paths, mask_path = _resolve(files, settings.root)
            images = [stack.enter_context(open_raster(path, "colours")) for path in image_paths]
            labels = stack.enter_context(open_raster(mask_path, "colours" if meaning.palette else "classes"))
            if differing := {image.size for image in images} - {labels.size}:
                raise ValueError(f"mask is {_by(labels.size)}, its image {_by(differing.pop())}")
        except ValueError as error:
            report.skip(files.file, str(error), samples=usual * len(meaning.asked))
            return
        for name, window in cuts(labels.size):
            try:
                yield _cut_one(files, name, window, images, labels, meaning, settings, report)
            except ValueError as error:
                report.skip(f"{files.file} crop {name}", str(error), samples=len(meaning.asked))


def _cut_one(
    files: LabelledFiles,
    name: str,
    window: Window,
    images: list[Raster],
    labels: Raster,
    meaning: Legend,
    settings: Settings,
    report: ConversionReport,
) -> Labelled:
    assert settings.out is not None, "makes_images promises a folder"
    values_HW, strange = meaning.read(labels.read(window))
    if strange:
        report.warn(f"{files.mask} has colours that are not in the palette: the nearest was taken")
    folders = ("images",) if len(images) == 1 else ("images/A", "images/B")
    paths = tuple(f"{folder}/{files.split}/{name}.png" for folder in folders)
    for path, image in zip(paths, images, strict=True):
        if not (settings.out / path).is_file():
            save_crop(settings.out / path, image.read(window))
    mask = f"masks/{files.split}/{name}.png"
    save_crop(settings.out / mask, values_HW)
    return Labelled(f"{files.split}-{name}", paths, mask, values_HW, as_downloaded=False)


def _resolve(files: LabelledFiles, root: Path) -> tuple[list[Path], Path]:
    if not all(files.images):
        raise ValueError("its image is missing")
    if not files.mask:
        raise ValueError("its mask is missing")
    return [resolve_image(root, image) for image in files.images], resolve_image(root, files.mask)


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
