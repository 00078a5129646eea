"""What all segmentation sets share: a label image in, one question per class out."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_tools.converter import Sample, Settings
from data_tools.labels import BACKGROUND, UNLABELLED, class_words
from rsunivlm.tasks import Task

Colour = tuple[int, int, int]


def sort_classes(names: Mapping[int, str]) -> tuple[dict[int, str], tuple[int, ...]]:
    """Split class names by pixel value into those to ask for, in words, and values to ignore.

    Values named unlabeled (void, ignore ...) are ignored in scoring and count as background in the text; the
    rest class (background, others) is nobody's question.

    Returns:
        Value -> words of the classes to ask for, and the ignored values.

    Raises:
        ValueError: there is nothing to ask for, or two classes have the same words.
    """
    words = {value: class_words(name) for value, name in names.items()}
    ignored = tuple(value for value, name in words.items() if name in UNLABELLED)
    asked = {value: name for value, name in words.items() if name not in UNLABELLED | BACKGROUND}
    if not asked or len({*asked.values()}) < len(asked):
        raise ValueError(f"classes {words} must hold distinct names to ask for")
    return asked, ignored


def mask_samples(
    name: str,
    image: str,
    mask: str,
    values_HW: NDArray[np.int32],
    asked: Mapping[int, str],
    ignored: Collection[int],
    settings: Settings,
    raw: Mapping[int, Any] | None = None,
) -> Iterator[Sample]:
    """Yield one question per class.

    Training asks for the classes whose text target is not empty (a speck below one grid cell would be taught
    as absent) and, if wanted, for some absent ones (`Settings.absent_labels`); evaluation asks for every
    class of every image, since a dataset-level IoU must also see what a model invents.

    Args:
        name: beginning of the samples' ids.
        image: path of the image.
        mask: path of the label image, kept as the truth.
        values_HW: its values.
        asked: value -> class in words.
        ignored: values that are not annotated.
        settings: of the conversion.
        raw: what stands in the file for a value where that is another thing, e.g. a colour; else the value.
    """
    # Grid ids of the two-class question: 0 others, 1 the class, 2 not annotated.
    unlabelled_HW = np.isin(values_HW, list(ignored))
    grids = {
        value: settings.masks.to_grid(np.where(unlabelled_HW, 2, values_HW == value), 2, ignore_index=2)
        for value in asked
    }
    present = set(np.unique(values_HW).tolist())
    absent = [value for value in asked if value not in present]
    absent.sort(key=lambda value: zlib.crc32(f"{settings.seed}/{name}/{value}".encode()))
    trained = {value for value in asked if grids[value].any()} | {*absent[: settings.absent_labels]}
    in_file = {value: value for value in (*asked, *ignored)} if raw is None else raw
    for value, label in asked.items():
        labels = ["others", label]
        target: dict[str, Any] = {"mask": mask, "labels": labels, "value": in_file[value]}
        if ignored:
            target["ignore"] = [in_file[value] for value in ignored]
        yield Sample(
            id=f"{name}-{label.replace(' ', '-')}",
            images=(image,),
            task=Task.SS,
            slots={"label": label},
            answers=(settings.masks.grid_to_text(grids[value], labels),),
            target=target,
            training=value in trained,
        )


def check_mask(values_HW: NDArray[np.int32], size: tuple[int, int], known: Collection[int]) -> None:
    """Check a label image against its picture's (width, height) and the values that have a meaning.

    Raises:
        ValueError: sizes differ, or there are other values.
    """
    if values_HW.shape != (size[1], size[0]):
        raise ValueError(
            f"mask is {values_HW.shape[1]} x {values_HW.shape[0]}, its image {size[0]} x {size[1]}"
        )
    unknown = set(np.unique(values_HW).tolist()) - set(known)
    if unknown:
        raise ValueError(f"mask values {sorted(unknown)[:5]} have no class name")


def colours_to_values(
    colours_HW3: NDArray[np.uint8], palette: Mapping[Colour, int], *, nearest: bool = False
) -> NDArray[np.int32]:
    """Turn a colour-coded label image into values.

    Args:
        colours_HW3: red, green, blue.
        palette: colour -> value.
        nearest: give an unknown colour the value of the nearest known one (for label files that are known to
            hold such, e.g. two Potsdam tiles).

    Raises:
        ValueError: an unknown colour, unless `nearest`.
    """
    codes_HW = colours_HW3.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    known = {(red << 16) + (green << 8) + blue: value for (red, green, blue), value in palette.items()}
    found, inverse_HW = np.unique(codes_HW, return_inverse=True)
    unknown = [code for code in found.tolist() if code not in known]
    if unknown and not nearest:
        shown = [(code >> 16, code >> 8 & 255, code & 255) for code in unknown[:3]]
        raise ValueError(f"mask has {len(unknown)} unknown colours, e.g. {', '.join(map(str, shown))}")
    palette_P3 = np.array(list(palette))
    values = list(palette.values())
    for code in unknown:
        colour = np.array([code >> 16, code >> 8 & 255, code & 255])
        known[code] = values[int(((palette_P3 - colour) ** 2).sum(axis=1).argmin())]
    lookup = np.array([known[code] for code in found.tolist()], np.int32)
    return lookup[inverse_HW].reshape(codes_HW.shape)
