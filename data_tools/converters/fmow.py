"""fMoW-rgb: functional scenes in satellite images, each marked with a box.

``<category>_<n>_<k>_rgb.json`` beside every image holds its boxes, one or several, as x, y, width, height in
pixels. A sample is the crop of one box with some ground around it, as in the dataset's own baseline: each
side grows by a share of its length, the larger the smaller the box is in the image (`_CONTEXT`). (The
baseline compares a box's width with the image's height; here width goes with width.) Boxes of 2 px or less
are left out, as there.

The ``_msrgb`` files show the same scenes at the resolution of the other sensor and are not read; ``test`` and
``seq`` have no categories.

Images are large (some above 6,000 px) and crops of a whole scene nearly so; a crop's longer side is reduced
to 512 px (``--crop``), more than any model here looks at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_tools.converter import Converter, Manifest, Sample, Settings
from data_tools.crops import Window, open_raster, save_crop
from data_tools.files import image_size, read_json
from data_tools.labels import class_words
from data_tools.report import ConversionReport
from data_tools.scenes import class_list, class_sample, subfolders
from rsunivlm.data.records import resolve_image
from rsunivlm.tasks import Task

_CATEGORIES = (
    "airport airport_hangar airport_terminal amusement_park aquaculture archaeological_site barn "
    "border_checkpoint burial_site car_dealership construction_site crop_field dam debris_or_rubble "
    "educational_institution electric_substation factory_or_powerplant fire_station flooded_road fountain "
    "gas_station golf_course ground_transportation_station helipad hospital impoverished_settlement "
    "interchange lake_or_pond lighthouse military_facility multi-unit_residential nuclear_powerplant "
    "office_building oil_or_gas_facility park parking_lot_or_garage place_of_worship police_station port "
    "prison race_track railway_bridge recreational_facility road_bridge runway shipyard shopping_mall "
    "single-unit_residential smokestack solar_farm space_facility stadium storage_tank surface_mine "
    "swimming_pool toll_booth tower tunnel_opening waste_disposal water_treatment_facility wind_farm zoo"
)
CLASSES = class_list(_CATEGORIES)
_LABELS = {category: class_words(category) for category in _CATEGORIES.split()}
MANIFEST = Manifest(
    name="fmow",
    title="fMoW-rgb (Functional Map of the World)",
    tasks=(Task.SC,),
    source="https://github.com/fMoW/dataset",
    licence="FMoW Challenge Public License",
    layout="{train,val}/<category>/<category>_<n>/<category>_<n>_<k>_rgb.{jpg,json}",
    needs=tuple(f"{split}/*/*/*_rgb.{suffix}" for split in ("train", "val") for suffix in ("jpg", "json")),
    folders=("fMoW-rgb", "fmow-rgb", "fMoW", "fmow"),
    options=("crop",),
    makes_images=True,
    notes="One sample per box: the box with the context of the dataset's baseline, its longer side reduced "
    "to --crop (512). The paper trains on 53,000 (`samples: 53000` in the mixture).",
)
_SPLITS = ("train", "val")
_SUFFIX = "_rgb.json"
_SIDE = 512
_LEAST_BOX = 2
_HUGE = 1e9  # no coordinate; NaN fails the comparison too
# From this share of the image's side on, a box's side grows by that share of itself, half at either end.
_CONTEXT = ((0.5, 0.15), (0.4, 0.2), (0.3, 0.3), (0.2, 0.5), (0.1, 1.0), (0.0, 2.0))


def find_splits(root: Path) -> tuple[str, ...]:
    """Return the splits that have a folder.

    Raises:
        ValueError: none has one.
    """
    found = tuple(split for split in _SPLITS if (root / split).is_dir())
    if not found:
        raise ValueError(f"{root} has neither train nor val; expected layout: {MANIFEST.layout}")
    return found


@dataclass(frozen=True)
class _Item:
    """One image's annotation file, relative to the root."""

    split: str
    annotation: str


def items(split: str, settings: Settings, report: ConversionReport) -> Iterator[_Item]:
    """Yield every annotation file of a split; folder by folder, for there are hundreds of thousands."""
    for category in subfolders(settings.root / split):
        for place in subfolders(category):
            for path in sorted(place.glob(f"*{_SUFFIX}")):
                yield _Item(split, path.relative_to(settings.root).as_posix())


def samples(item: _Item, settings: Settings, report: ConversionReport) -> Iterator[Sample]:
    """Cut an image's boxes out and yield a sample for each."""
    try:
        annotation = read_json(resolve_image(settings.root, item.annotation))
        boxes = _boxes(annotation)
    except ValueError as error:
        report.skip(item.annotation, str(error))
        return
    stem = item.annotation.removesuffix(".json")
    try:
        source = resolve_image(settings.root, f"{stem}.jpg")
        size = image_size(source)
        stated = (annotation.get("img_width", size[0]), annotation.get("img_height", size[1]))
        if stated != size:
            raise ValueError(f"states size {stated[0]} x {stated[1]}, its image is {size[0]} x {size[1]}")
    except ValueError as error:
        report.skip(item.annotation, str(error), samples=len(boxes))
        return
    crops: dict[str, Window] = {}
    found: list[Sample] = []
    for number, box in enumerate(boxes):
        try:
            label, window = _read_box(box, size)
        except ValueError as error:
            report.skip(f"{item.annotation} box {number}", str(error))
            continue
        if window is None:
            report.left_out[f"box of {_LEAST_BOX} px or less"] += 1
            continue
        image = f"images/{settings.crop or _SIDE}/{stem}_{number}.jpg"
        crops[image] = window
        found.append(class_sample(f"{item.split}-{Path(stem).name}-{number}", image, label, CLASSES))
    try:
        _cut(source, crops, settings)
    except ValueError as error:
        report.skip(item.annotation, str(error), samples=len(found))
        return
    yield from found


def _boxes(annotation: Any) -> list[Any]:
    boxes = annotation.get("bounding_boxes") if isinstance(annotation, dict) else None
    if isinstance(boxes, dict):  # some files hold their one box without a list around it
        boxes = [boxes]
    if not isinstance(boxes, list) or not boxes:
        raise ValueError("has no 'bounding_boxes'")
    return boxes


def _read_box(box: Any, size: tuple[int, int]) -> tuple[str, Window | None]:
    """Return the class and the window of a box; no window where the box is too small to learn from."""
    if not isinstance(box, dict):
        raise ValueError("is no object with 'category' and 'box'")
    category, numbers = box.get("category"), box.get("box")
    if not isinstance(category, str) or category not in _LABELS:
        raise ValueError(f"category {category!r} is none of the 62")
    if not isinstance(numbers, list) or len(numbers) != 4 or not all(map(_is_number, numbers)):
        raise ValueError(f"box {numbers!r} is not made of four numbers")
    x, y, width, height = numbers
    if width <= 0 or height <= 0:
        raise ValueError(f"box {numbers} is reversed or empty")
    if x < 0 or y < 0 or x + width > size[0] or y + height > size[1]:
        raise ValueError(f"box {numbers} reaches beyond the {size[0]} x {size[1]} image")
    if min(width, height) <= _LEAST_BOX:
        return _LABELS[category], None
    (left, right), (top, bottom) = _grow(x, width, size[0]), _grow(y, height, size[1])
    return _LABELS[category], Window(left, top, right - left, bottom - top)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _HUGE


def _grow(start: float, length: float, limit: int) -> tuple[int, int]:
    """Widen one side of a box by its context, within the image: first pixel and the one behind the last."""
    share = next(share for least, share in _CONTEXT if length / limit >= least)
    margin = int(length * share / 2)
    return max(0, math.floor(start) - margin), min(limit, math.ceil(start + length) + margin)


def _cut(source: Path, crops: dict[str, Window], settings: Settings) -> None:
    """Write the crops that are not there yet; the image is decoded once for all of them."""
    out = settings.image_root(MANIFEST)
    missing = {image: window for image, window in crops.items() if not (out / image).is_file()}
    if not missing:
        return
    with open_raster(source, "colours") as raster:
        for image, window in missing.items():
            save_crop(out / image, _reduce(raster.read(window), settings.crop or _SIDE))


def _reduce(pixels_HW3: NDArray[np.integer[Any]], side: int) -> NDArray[np.integer[Any]]:
    if max(pixels_HW3.shape[:2]) <= side:
        return pixels_HW3
    picture = Image.fromarray(pixels_HW3)
    picture.thumbnail((side, side))
    return np.asarray(picture)


CONVERTERS = (Converter(MANIFEST, find_splits, items, samples),)
