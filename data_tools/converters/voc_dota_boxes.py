"""Detection sets in the folders of PASCAL VOC and of DOTA: boxes, asked for by rule-made expressions.

VOC: one XML file per picture with ``<object><name>, <bndbox>, <difficult>``; corners are taken as they
stand. DOTA: one text file per picture with a line ``x1 y1 x2 y2 x3 y3 x4 y4 class difficult`` per object,
after optional lines on source and ground resolution; of the turned rectangle the upright hull counts.

An object marked as difficult is never asked for, but counts as present. An object whose box cannot be read
leaves open where one more of its class is, so nothing is said about that class in that picture; one without
a class might be anything, so nothing is said about the picture at all.

DOTA's pictures are thousands of pixels wide and are cut into crops (`--crop`, 512 pixels by default). An
object belongs to a crop when at least 95 % of its hull lies inside. One that the border cuts is neither asked
for nor left out of account: nothing is said about its class in that crop, since a part of a thing may or may
not be counted as one. Only crops that give a sample are written.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from data_tools.converter import Converter, Manifest, Sample, Settings
from data_tools.crops import Window, open_raster, save_crop, windows
from data_tools.expressions import Box, Thing
from data_tools.files import image_size, read_lines, require
from data_tools.grounding import check_box, detection_samples
from data_tools.labels import class_words
from data_tools.report import ConversionReport
from rsunivlm.data.records import resolve_image
from rsunivlm.tasks import Task

_SPLITS = ("train", "val", "test")
_VOC_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_VOC_PICTURES = ("JPEGImages", "images")
_DOTA_HEADER = ("imagesource:", "gsd:")
_CROP = 512
_INSIDE = 0.95

VOC = Manifest(
    name="voc_boxes",
    title="Your own boxes (PASCAL VOC XML)",
    tasks=(Task.VG, Task.REG),
    source="your own",
    licence="your own",
    layout="Annotations/*.xml {JPEGImages|images}/* [ImageSets/Main/{train,val,test}.txt]",
    needs=("Annotations/*.xml", "JPEGImages/*|images/*"),
    notes="Expressions are made by rule, as for coco_detection. Without ImageSets everything is `train`.",
)
DOTA = Manifest(
    name="dota_boxes",
    title="DOTA, or your own turned boxes in its layout",
    tasks=(Task.VG, Task.REG),
    source="https://captain-whu.github.io/DOTA/dataset.html, or your own",
    licence="DOTA: academic use only; your own",
    layout="[{train,val,test}/]{images/*.png,labelTxt/*.txt}",
    needs=("labelTxt/*.txt|train/labelTxt/*.txt", "images/*|train/images/*"),
    folders=("DOTA", "DOTA-v1.0", "DOTA-v1.5", "DOTA-v2.0", "dota"),
    options=("crop",),
    makes_images=True,
    notes="Expressions are made by rule, as for coco_detection, on crops. VRSBench and GeoChat_Instruct are "
    "made from DOTA images: compare them before testing on either.",
)


@dataclass(frozen=True)
class _Item:
    """A picture ("" where it is missing) and its annotation, as paths below the root."""

    split: str
    stem: str
    image: str
    annotation: str


@dataclass
class _Scene:
    """What the annotation of a picture says: things in pixels, and classes that have more of them."""

    things: list[Thing]
    uncertain: set[str]


def find_voc_splits(root: Path) -> tuple[str, ...]:
    """Return the splits that ImageSets lists, or "train" for everything.

    Raises:
        ValueError: the folders are not there, or ImageSets lists no split.
    """
    require(root, "Annotations", layout=VOC.layout)
    if not any((root / folder).is_dir() for folder in _VOC_PICTURES):
        raise ValueError(f"{root} has neither JPEGImages nor images; expected layout: {VOC.layout}")
    lists = root / "ImageSets" / "Main"
    if not lists.is_dir():
        return ("train",)
    found = tuple(split for split in _SPLITS if (lists / f"{split}.txt").is_file())
    if not found:
        raise ValueError(f"{lists} has no train.txt, val.txt or test.txt; add one, or remove ImageSets")
    return found


def voc_items(split: str, settings: Settings, report: ConversionReport) -> Iterator[_Item]:
    """Yield every picture of a split."""
    root = settings.root
    listed = root / "ImageSets" / "Main" / f"{split}.txt"
    if listed.is_file():
        stems = read_lines(listed)
    else:
        stems = sorted(path.stem for path in (root / "Annotations").glob("*.xml"))
    folder = next(folder for folder in _VOC_PICTURES if (root / folder).is_dir())
    image_of = _by_stem(root / folder)
    for stem in stems:
        image = f"{folder}/{image_of[stem]}" if stem in image_of else ""
        yield _Item(split, stem, image, f"Annotations/{stem}.xml")


def voc_samples(item: _Item, settings: Settings, report: ConversionReport) -> Iterator[Sample]:
    """Yield the samples of a picture's objects."""
    try:
        size, annotation = _open(item, settings.root)
        scene = _read_voc(annotation, size, item.annotation, report)
    except ValueError as error:
        report.skip(f"{item.annotation} ({item.split})", str(error))
        return
    name = f"{item.split}-{item.stem}"
    yield from detection_samples(name, item.image, size, scene.things, scene.uncertain, settings, report)


def find_dota_splits(root: Path) -> tuple[str, ...]:
    """Return the split folders, or "train" where the root itself is one.

    Raises:
        ValueError: the folders are not there.
    """
    found = tuple(split for split in _SPLITS if (root / split / "labelTxt").is_dir())
    if not found:
        require(root, "images", "labelTxt", layout=DOTA.layout)
    return found or ("train",)


def dota_items(split: str, settings: Settings, report: ConversionReport) -> Iterator[_Item]:
    """Yield every picture of a split."""
    folder = f"{split}/" if (settings.root / split / "labelTxt").is_dir() else ""
    require(settings.root, f"{folder}images", layout=DOTA.layout)
    image_of = _by_stem(settings.root / folder / "images")
    for path in sorted((settings.root / folder / "labelTxt").glob("*.txt")):
        image = f"{folder}images/{image_of[path.stem]}" if path.stem in image_of else ""
        yield _Item(split, path.stem, image, f"{folder}labelTxt/{path.name}")


def dota_samples(item: _Item, settings: Settings, report: ConversionReport) -> Iterator[Sample]:
    """Yield the samples of a picture's crops, after writing these."""
    try:
        size, annotation = _open(item, settings.root)
        scene = _read_dota(annotation, size, item.annotation, report)
        made: dict[str, Window] = {}
        found: list[Sample] = []
        for window in windows(size, settings.crop or _CROP):
            crop = _cut(scene, window)
            image = f"images/{item.split}/{item.stem}_{window}.png"
            inside = list(
                detection_samples(
                    f"{item.split}-{item.stem}_{window}",
                    image,
                    (window.width, window.height),
                    crop.things,
                    crop.uncertain,
                    settings,
                    report,
                )
            )
            if inside:
                made[image] = window
                found += inside
        _write_crops(settings.root / item.image, made, settings)
    except ValueError as error:
        report.skip(f"{item.annotation} ({item.split})", str(error))
        return
    yield from found


def _by_stem(folder: Path) -> dict[str, str]:
    return {path.stem: path.name for path in sorted(folder.iterdir()) if path.is_file()}


def _open(item: _Item, root: Path) -> tuple[tuple[int, int], Path]:
    """The size of a picture and the path of its annotation, both known to lie below the root."""
    if not item.image:
        raise ValueError(f"has no picture named {item.stem}")
    annotation = resolve_image(root, item.annotation)
    if not annotation.is_file():
        raise ValueError("is missing")
    return image_size(resolve_image(root, item.image)), annotation


def _read_voc(path: Path, size: tuple[int, int], where: str, report: ConversionReport) -> _Scene:
    try:
        elements = ElementTree.fromstring(path.read_bytes()).findall("object")
    except ElementTree.ParseError as error:
        raise ValueError(f"is not valid XML ({error})") from error
    if not elements:
        raise ValueError("has no <object>")
    scene = _Scene([], set())
    for number, element in enumerate(elements):
        label = class_words(element.findtext("name", ""))
        corners = [element.findtext(f"bndbox/{tag}") for tag in _VOC_CORNERS]
        try:
            box = check_box(corners, size)
        except ValueError as error:
            report.skip(f"{where} object {number}", str(error))
            scene.uncertain.add(label)
            continue
        difficult = element.findtext("difficult", "0").strip() == "1"
        scene.things.append(Thing(label, box, askable=not difficult))
    return scene


def _read_dota(path: Path, size: tuple[int, int], where: str, report: ConversionReport) -> _Scene:
    scene = _Scene([], set())
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        words = line.split()
        if not words or line.lower().startswith(_DOTA_HEADER):
            continue
        if len(words) not in (9, 10):
            raise ValueError(f"line {number} is not made of 8 numbers, a class and a difficulty")
        label = class_words(words[8])
        try:
            hull = _hull(words[:8])
            if _share_inside(hull, Window(0, 0, *size)) == 0:
                raise ValueError(f"lies outside the {size[0]} x {size[1]} image")
        except ValueError as error:
            report.skip(f"{where} line {number}", str(error))
            scene.uncertain.add(label)
            continue
        scene.things.append(Thing(label, hull, askable=words[9:] != ["1"]))
    if not scene.things and not scene.uncertain:
        raise ValueError("has no objects")
    return scene


def _hull(words: list[str]) -> Box:
    """The upright hull of four corners, which may reach beyond the picture."""
    numbers = [float(word) for word in words]
    x1, y1, x2, y2 = min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])
    if not all(map(math.isfinite, numbers)) or x2 <= x1 or y2 <= y1:
        raise ValueError(f"corners {' '.join(words)} have no area")
    return x1, y1, x2, y2


def _share_inside(box: Box, window: Window) -> float:
    """Share of a box's area that lies in a window."""
    x1, y1, x2, y2 = box
    width = min(x2, window.x + window.width) - max(x1, window.x)
    height = min(y2, window.y + window.height) - max(y1, window.y)
    return max(width, 0.0) * max(height, 0.0) / ((x2 - x1) * (y2 - y1))


def _cut(scene: _Scene, window: Window) -> _Scene:
    """What a window shows: things almost whole, in its own pixels; cut ones leave their class uncertain."""
    crop = _Scene([], set(scene.uncertain))
    for thing in scene.things:
        share = _share_inside(thing.box, window)
        if share >= _INSIDE:
            x1, y1, x2, y2 = thing.box
            box = (
                max(x1 - window.x, 0.0),
                max(y1 - window.y, 0.0),
                min(x2 - window.x, float(window.width)),
                min(y2 - window.y, float(window.height)),
            )
            crop.things.append(replace(thing, box=box))
        elif share > 0:
            crop.uncertain.add(thing.label)
    return crop


def _write_crops(source: Path, crops: dict[str, Window], settings: Settings) -> None:
    """Write the crops that are not there yet; a picture is decoded only if one is missing."""
    out = settings.image_root(DOTA)
    missing = {image: window for image, window in crops.items() if not (out / image).is_file()}
    if missing:
        with open_raster(source, "colours") as raster:
            for image, window in missing.items():
                save_crop(out / image, raster.read(window))


CONVERTERS = (
    Converter(VOC, find_voc_splits, voc_items, voc_samples),
    Converter(DOTA, find_dota_splits, dota_items, dota_samples),
)
