"""What all scene sets share: one image of one class, asked for among all classes of the set.

The question lists the classes in alphabetical order of their words. The list is the dataset's, not that of
the images at hand: an answer means the same in every split and every incomplete copy.

Most sets put each class into a folder of its own, called after it. Copies spell the folders differently
(``BareLand``, ``bareland``, ``bare_land``) and unpack one or two folders deeper; both are tolerated here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_tools.captions import captions
from data_tools.converter import Sample, Settings
from data_tools.files import image_size
from data_tools.labels import class_key, class_words
from data_tools.report import ConversionReport
from rsunivlm.data.records import resolve_image
from rsunivlm.tasks import Task

# Anything else in a class folder (Thumbs.db, lists, archives) is no image of the set.
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"})


@dataclass(frozen=True)
class Scene:
    """One image of a scene set.

    Attributes:
        split: the split it belongs to.
        name: beginning of its samples' ids, unique in the split.
        image: path relative to the dataset's root.
        label: its class in words; "" where it is not known.
        classes: what the question lists, in order.
        entry: what a caption file says about it; None in sets without captions.
        untrained: why the class stays out of the training files; "" where it does not.
    """

    split: str
    name: str
    image: str
    label: str
    classes: tuple[str, ...]
    entry: dict[str, Any] | None = None
    untrained: str = ""


def class_list(names: str) -> tuple[str, ...]:
    """Return a dataset's class names (parted by blanks) in words, in the order of the question."""
    return tuple(sorted(class_words(name) for name in names.split()))


def samples(scene: Scene, settings: Settings, report: ConversionReport) -> Iterator[Sample]:
    """Yield a captioning sample where there are captions, a classification sample where there is a class."""
    try:
        image_size(resolve_image(settings.root, scene.image))
    except ValueError as error:
        report.skip(scene.image, str(error), samples=(scene.entry is not None) + bool(scene.label))
        return
    name = f"{scene.split}-{scene.name}"
    if scene.entry is not None and (sentences := captions(scene.entry, report)):
        yield Sample(
            id=name,
            images=(scene.image,),
            task=Task.CAP,
            slots={},
            answers=sentences,
            target={"references": list(sentences)},
        )
    if not scene.label:
        return
    if scene.untrained and not scene.split.startswith("test"):
        report.left_out[scene.untrained] += 1
    yield class_sample(
        name if scene.entry is None else f"{name}-sc",
        scene.image,
        scene.label,
        scene.classes,
        training=not scene.untrained,
    )


def class_sample(
    name: str, image: str, label: str, classes: tuple[str, ...], *, training: bool = True
) -> Sample:
    """Ask for the class of an image among all of them."""
    return Sample(
        id=name,
        images=(image,),
        task=Task.SC,
        slots={"classes": ", ".join(classes)},
        answers=(label,),
        target={"label": label, "classes": list(classes)},
        training=training,
    )


def folder_needs(classes: Iterable[str]) -> tuple[str, ...]:
    """Glob patterns for `Manifest.needs`: every class has a folder, however deep and however spelt."""
    patterns = (
        "*".join(f"[{word[0].upper()}{word[0]}]{word[1:]}" for word in label.split()) for label in classes
    )
    return tuple(f"**/{pattern}/*" for pattern in patterns)


def find_class_root(root: Path, classes: Iterable[str], layout: str) -> Path:
    """Return the folder that holds the class folders: the root, or one at most two folders below it.

    Raises:
        ValueError: none of them holds a folder called like a class.
    """
    keys = {class_key(label) for label in classes}
    below = subfolders(root)
    for folder in (root, *below, *(inner for outer in below for inner in subfolders(outer))):
        if any(class_key(path.name) in keys for path in subfolders(folder)):
            return folder
    raise ValueError(f"{root} has no class folders; expected layout: {layout}")


def labelled_images(
    folder: Path, classes: Iterable[str], title: str, report: ConversionReport
) -> Iterator[tuple[str, Path]]:
    """Walk through class folders in the order of their names.

    Images in folders of unknown classes are reported as bad, classes without images as a warning.

    Yields:
        The class in words and the image file.
    """
    words = {class_key(label): label for label in classes}
    missing = dict.fromkeys(words.values())
    for path in subfolders(folder):
        label = words.get(class_key(path.name))
        images = image_files(path)
        if not images:
            continue
        if label is None:
            report.skip(path.name, f"the folder's name is no class of {title}", samples=len(images))
            continue
        missing.pop(label, None)
        for image in images:
            yield label, image
    if missing:
        report.warn(f"no images of {', '.join(missing)} in {title}")


def subfolders(folder: Path) -> list[Path]:
    """Folders in a folder, by name, without hidden ones and the leftovers of archivers."""
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__MACOSX"))
    )


def image_files(folder: Path) -> list[Path]:
    """Image files in a folder, by name, without hidden ones."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )
