"""Any folder of images with colour-coded masks: a user's own segmentation data.

As `data_tools.converters.index_masks`, but ``classes.json`` names colours: ``{"#e2a929": "water"}`` or
``{"226,169,41": "water"}``. A mask stays as it is: the truth is named by colour. Masks must be lossless: a
colour that is not named makes a mask bad.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial

from data_tools.converter import Converter, Settings
from data_tools.converters import index_masks
from data_tools.labelled_images import read_class_file
from data_tools.segmentation import Colour, Legend, legend

MANIFEST = replace(
    index_masks.MANIFEST,
    name="colour_masks",
    title="Your own masks (colours as classes)",
    options=("absent_labels",),
)
_HEX = re.compile(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})")
_DECIMAL = re.compile(r"(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})")


def classes(settings: Settings) -> Legend:
    """The classes of the root's ``classes.json``.

    Raises:
        ValueError: it is missing or holds something else than colours with distinct names.
    """
    path = settings.root / "classes.json"
    names: dict[int, str] = {}
    palette: dict[Colour, int] = {}
    for value, (text, name) in enumerate(read_class_file(path).items()):
        colour = _colour(text.strip())
        if colour is None or colour in palette:
            raise ValueError(f"{path}: {text!r} is no colour of its own; write #e2a929 or 226,169,41")
        names[value], palette[colour] = name, value
    return legend(names, palette=palette)


def _colour(text: str) -> Colour | None:
    if found := _HEX.fullmatch(text):
        base = 16
    elif found := _DECIMAL.fullmatch(text):
        base = 10
    else:
        return None
    red, green, blue = (int(part, base) for part in found.groups())
    return (red, green, blue) if max(red, green, blue) <= 255 else None


CONVERTERS = (
    Converter(MANIFEST, index_masks.find_splits, partial(index_masks.items, classes), index_masks.samples),
)
