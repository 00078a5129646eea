"""LandCover.ai v1: buildings, woodland, water and roads of rural Poland, 0.25 - 0.5 m.

The lists name 512 x 512 tiles as ``{raster}_{number}``: the dataset's ``split.py`` cuts every raster into a
grid without overlap, counts its cells row by row and keeps those that are full. Where that script has been
run (``output``), its tiles are taken as they are; else the same tiles are cut here, those that a list names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data_tools.converter import Converter, Manifest, Sample, Settings
from data_tools.crops import Window
from data_tools.files import read_lines
from data_tools.labelled_images import LabelledFiles, cut, read_whole
from data_tools.report import ConversionReport
from data_tools.segmentation import legend, mask_samples
from rsunivlm.tasks import Task

_SIDE = 512
_MEANING = legend({0: "background", 1: "building", 2: "woodland", 3: "water", 4: "road"})
_QUESTIONS = len(_MEANING.asked)
MANIFEST = Manifest(
    name="landcover_ai",
    title="LandCover.ai",
    tasks=(Task.SS,),
    source="https://landcover.ai.linuxpolska.com",
    licence="CC BY-NC-SA 4.0",
    layout="images/*.tif masks/*.tif (or output/*.jpg output/*_m.png) {train,val,test}.txt",
    needs=("images/*.tif|output/*.jpg", "masks/*.tif|output/*_m.png", "train.txt", "val.txt", "test.txt"),
    folders=("landcover.ai.v1", "LandCover.ai", "landcover.ai", "landcover_ai", "landcover"),
    counts={"train": 7_470 * _QUESTIONS, "val": 1_602 * _QUESTIONS, "test": 1_602 * _QUESTIONS},
    options=("absent_labels",),
    makes_images=True,
    chunk_items=1,
    precut=("output",),
    notes="Background is not asked for; counts are tiles x classes. Tiles of one raster are in all splits.",
)
_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class _Item:
    """A raster with the numbers of the tiles to cut, or a tile that is cut already (no numbers)."""

    files: LabelledFiles
    numbers: tuple[int, ...] = ()


def find_splits(root: Path) -> tuple[str, ...]:
    """Return the splits that have a list."""
    return tuple(split for split in _SPLITS if (root / f"{split}.txt").is_file())


def items(split: str, settings: Settings, report: ConversionReport) -> Iterator[_Item]:
    """Yield every tile that the list of a split names, those of one raster together if it is to be cut.

    Raises:
        ValueError: a line names no tile.
    """
    path = settings.root / f"{split}.txt"
    numbers: dict[str, list[int]] = {}
    for name in read_lines(path):
        raster, _, number = name.rpartition("_")
        if not raster or not number.isdecimal():
            raise ValueError(f"{path}: {name!r} is not of the form raster_number; download it again")
        if MANIFEST.cuts_images(settings.root):
            numbers.setdefault(raster, []).append(int(number))
        else:
            yield _Item(LabelledFiles(split, name, (f"output/{name}.jpg",), f"output/{name}_m.png"))
    for raster, found in sorted(numbers.items()):
        files = LabelledFiles(split, raster, (f"images/{raster}.tif",), f"masks/{raster}.tif")
        yield _Item(files, tuple(sorted(found)))


def samples(item: _Item, settings: Settings, report: ConversionReport) -> Iterator[Sample]:
    """Yield one question per class about every tile."""
    if not item.numbers:
        for found in read_whole(item.files, _MEANING, settings, report):
            yield from mask_samples(found, _MEANING, settings)
        return

    def tiles(size: tuple[int, int]) -> Iterator[tuple[str, Window]]:
        columns = -(-size[0] // _SIDE)  # the last one may be cut off by the border; it counts all the same
        for number in item.numbers:
            row, column = divmod(number, columns)
            yield f"{item.files.name}_{number}", Window(column * _SIDE, row * _SIDE, _SIDE, _SIDE)

    for found in cut(item.files, tiles, len(item.numbers), _MEANING, settings, report):
        yield from mask_samples(found, _MEANING, settings)


CONVERTERS = (Converter(MANIFEST, find_splits, items, samples),)
