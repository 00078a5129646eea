"""What all mask datasets share: label images become values with a meaning, values become questions.

A `Legend` says what the pixels of a dataset's label images mean, be they class numbers or colours. A
`Labelled` picture (or pair) with its values then gives one question per class: `mask_samples` asks where the
class is, `change_samples` where it has changed.

Shapes: H height, W width, P colours of a palette, S strange colours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_tools.converter import Sample, Settings
from data_tools.labels import BACKGROUND, UNLABELLED, class_words
from rsunivlm.tasks import Task

Colour = tuple[int, int, int]

# Red, green, blue -> one number, so that colours compare as fast as class numbers.
_PACK = np.array([1 << 16, 1 << 8, 1], np.int32)


@dataclass(frozen=True)
class Legend:
    """The meaning of a dataset's label images. Made by `legend`.

    Attributes:
        asked: value -> class in words, for the classes that are asked for.
        ignored: values of pixels that nobody annotated: neither class nor background.
        codes: pixel value in the file -> value; empty for colour-coded label images.
        palette: colour in the file -> value; empty for class numbers.
        nearest: a colour that is not in the palette counts as the nearest one that is.
    """

    asked: Mapping[int, str]
    ignored: tuple[int, ...]
    codes: Mapping[int, int] = field(default_factory=dict)
    palette: Mapping[Colour, int] = field(default_factory=dict)
    nearest: bool = False

    def in_file(self, value: int) -> int | list[int]:
        """What stands for a value in a label image as downloaded."""
        for colour, meaning in self.palette.items():
            if meaning == value:
                return list(colour)
        return value

    def read(self, pixels: NDArray[np.integer[Any]]) -> tuple[NDArray[np.int32], int]:
        """Turn the pixels of a label image into values.

        Args:
            pixels: [H, W] class numbers, or [H, W, 3] red, green, blue if there is a palette.

        Returns:
            [H, W] values, and the number of pixels whose colour was not in the palette (`nearest`).

        Raises:
            ValueError: a number or colour without a meaning.
        """
        return _from_colours(pixels, self) if self.palette else (_from_codes(pixels, self.codes), 0)


def legend(
    names: Mapping[int, str],
    *,
    codes: Mapping[int, int] | None = None,
    palette: Mapping[Colour, int] | None = None,
    nearest: bool = False,
) -> Legend:
    """Make a legend from the names of the values.

    Values named unlabeled (void, boundary ...) are ignored in scoring and count as background in the text;
    the rest class (background, others) is nobody's question.

    Args:
        names: value -> class name as published.
        codes: pixel value in the file -> value, where the two differ.
        palette: colour in the file -> value, for colour-coded label images.
        nearest: see `Legend`.

    Raises:
        ValueError: there is nothing to ask for, or two classes have the same words.
    """
    words = {value: class_words(name) for value, name in names.items()}
    ignored = tuple(value for value, name in words.items() if name in UNLABELLED)
    asked = {value: name for value, name in words.items() if name not in UNLABELLED | BACKGROUND}
    if not asked or len({*asked.values()}) < len(asked):
        raise ValueError(f"classes {words} must hold distinct names to ask for")
    same = {} if palette else {value: value for value in names}
    return Legend(asked, ignored, codes or same, palette or {}, nearest)


@dataclass(frozen=True)
class Labelled:
    """A picture, or a pair of the same ground, with its label image.

    Attributes:
        id: unique within the dataset.
        images: paths of the pictures.
        mask: path of the label image, kept as the truth.
        values: [H, W] its values.
        as_downloaded: the label image lies there as downloaded, not rewritten as values.
    """

    id: str
    images: tuple[str, ...]
    mask: str
    values: NDArray[np.int32]
    as_downloaded: bool = True

    @property
    def present(self) -> set[int]:
        """The values that occur."""
        return set(np.unique(self.values).tolist())


def mask_samples(found: Labelled, meaning: Legend, settings: Settings) -> Iterator[Sample]:
    """Yield one segmentation question per class.

    Training asks for the classes whose text target is not empty (a speck below one grid cell would be taught
    as absent) and, if wanted, for some absent ones (`Settings.absent_labels`); evaluation asks for every
    class of every image, since a dataset-level IoU must also see what a model invents.
    """
    present = found.present
    absent = [value for value in meaning.asked if value not in present]
    absent.sort(key=lambda value: draw(settings.seed, found.id, value))
    extra = absent[: settings.absent_labels]
    for value in meaning.asked:
        cells = grid(found, value, meaning, settings)
        training = bool(cells.any()) or value in extra
        yield question(Task.SS, found, value, cells, meaning, settings, training=training)


def change_samples(found: Labelled, meaning: Legend, settings: Settings) -> Iterator[Sample]:
    """Yield one change detection question per class, also where nothing changed: that must be learnt too.

    Only a change that is smaller than a grid cell stays out of training: its text would say that there is
    none.
    """
    present = found.present
    for value in meaning.asked:
        cells = grid(found, value, meaning, settings)
        training = bool(cells.any()) or value not in present
        yield question(Task.CD, found, value, cells, meaning, settings, training=training)


def grid(found: Labelled, value: int, meaning: Legend, settings: Settings) -> NDArray[np.int64]:
    """The codec's grid of one class: 1 where it is, 0 elsewhere."""
    # The codec sees three ids: 0 others, 1 the class, 2 not annotated.
    classes_HW = (found.values == value).astype(np.int32)
    for ignored in meaning.ignored:
        classes_HW[found.values == ignored] = 2
    return settings.masks.to_grid(classes_HW, 2, ignore_index=2)


def question(
    task: Task,
    found: Labelled,
    value: int,
    cells: NDArray[np.int64],
    meaning: Legend,
    settings: Settings,
    *,
    training: bool = True,
) -> Sample:
    """The question about one class, answered by its grid."""
    label = meaning.asked[value]
    labels = ["others", label]
    in_file = meaning.in_file if found.as_downloaded else int
    target: dict[str, Any] = {"mask": found.mask, "labels": labels, "value": in_file(value)}
    if meaning.ignored:
        target["ignore"] = [in_file(ignored) for ignored in meaning.ignored]
    return Sample(
        id=f"{found.id}-{label.replace(' ', '-')}",
        images=found.images,
        task=task,
        slots={"label": label},
        answers=(settings.masks.grid_to_text(cells, labels),),
        target=target,
        training=training,
    )


def draw(*what: object) -> bytes:
    """A lot that depends on nothing but its arguments; the order of lots is a fair shuffle."""
    # Not a CRC: those of equally long texts differ by the same bits everywhere, so their order is not fair.
    return hashlib.sha256("/".join(map(str, what)).encode()).digest()


def check_mask(values_HW: NDArray[np.int32], size: tuple[int, int], known: tuple[int, ...]) -> None:
    """Check a label image against its picture's (width, height) and the values that have a meaning.

    Raises:
        ValueError: sizes differ, or there are other values.
    """
    check_size(values_HW, size)
    _from_codes(values_HW, {value: value for value in known})


def check_size(values_HW: NDArray[Any], size: tuple[int, int]) -> None:
    """Check a label image's size against its picture's (width, height).

    Raises:
        ValueError: they differ.
    """
    height, width = values_HW.shape[:2]
    if (width, height) != size:
        raise ValueError(f"mask is {width} x {height}, its image {size[0]} x {size[1]}")


def _from_codes(pixels_HW: NDArray[np.integer[Any]], codes: Mapping[int, int]) -> NDArray[np.int32]:
    values_HW = pixels_HW.astype(np.int32)
    found = np.unique(values_HW).tolist()
    if unknown := [code for code in found if code not in codes]:
        raise ValueError(f"mask values {unknown[:5]} have no class name")
    for code in found:
        if codes[code] != code:
            values_HW[pixels_HW == code] = codes[code]
    return values_HW


def _from_colours(colours_HW3: NDArray[np.integer[Any]], meaning: Legend) -> tuple[NDArray[np.int32], int]:
    numbers_HW = colours_HW3.astype(np.int32) @ _PACK
    palette_P3 = np.array(list(meaning.palette), np.int32)
    values_P = np.array(list(meaning.palette.values()), np.int32)
    values_HW = np.full(numbers_HW.shape, -1, np.int32)
    for number, value in zip((palette_P3 @ _PACK).tolist(), values_P.tolist(), strict=True):
        values_HW[numbers_HW == number] = value
    strange_HW = values_HW < 0
    if not strange_HW.any():
        return values_HW, 0
    strange, which = np.unique(numbers_HW[strange_HW], return_inverse=True)
    colours_S3 = np.stack([strange >> 16, strange >> 8 & 255, strange & 255], axis=-1)
    if not meaning.nearest:
        shown = ", ".join(str(tuple(colour)) for colour in colours_S3[:3].tolist())
        raise ValueError(f"mask has {len(strange)} unknown colours, e.g. {shown}")
    distances_SP = ((colours_S3[:, None] - palette_P3[None]) ** 2).sum(axis=-1)
    values_HW[strange_HW] = values_P[distances_SP.argmin(axis=1)][which]
    return values_HW, int(strange_HW.sum())
