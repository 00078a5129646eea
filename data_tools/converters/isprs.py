"""ISPRS 2D semantic labelling: Potsdam (RGB, 5 cm) and Vaihingen (infrared-red-green, 9 cm).

The tiles of the contest are cut into 512 x 512 crops in a grid whose last row and column are moved back to
the border, as MMSegmentation's preparation does: 24 + 14 Potsdam tiles give 3,456 + 2,016 crops, 16 + 17
Vaihingen tiles 344 + 398. A folder that this preparation has made already (``img_dir``, ``ann_dir``) is taken
as it is; the masks have the same values and the samples the same ids either way.

Images and label images are found by their file names wherever they lie below the root, since every archive
of the contest unpacks into a folder of another name. Of a label image and its twin with eroded borders
(``_noBoundary``), Potsdam, which is trained on, takes the former, Vaihingen the latter: its scores use that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from data_tools.converter import Converter, Manifest, Sample, Settings
from data_tools.crops import Window, windows
from data_tools.labelled_images import LabelledFiles, cut, paired, read_whole
from data_tools.report import ConversionReport
from data_tools.segmentation import Colour, Legend, legend, mask_samples
from rsunivlm.tasks import Task

_SIDE = 512
_NAMES = {
    0: "boundary",
    1: "impervious surface",
    2: "building",
    3: "low vegetation",
    4: "tree",
    5: "car",
    6: "clutter",
}
_PALETTE: dict[Colour, int] = {
    (0, 0, 0): 0,
    (255, 255, 255): 1,
    (0, 0, 255): 2,
    (0, 255, 255): 3,
    (0, 255, 0): 4,
    (255, 255, 0): 5,
    (255, 0, 0): 6,
}
_CUT = legend(_NAMES)
_QUESTIONS = len(_CUT.asked)
# What the preparation calls val are the contest's test tiles.
_CUT_SPLITS = {"train": "train", "test": "val"}


@dataclass(frozen=True)
class _Contest:
    """One of the two cities.

    Attributes:
        manifest: of its converter.
        tiles: split -> names of its tiles.
        images: ends of the path of a tile's image, the preferred one first; "{}" for the tile.
        masks: ends of the path of its label image; none of a path that is an image's.
        meaning: of the label images.
        crops: split -> published number of crops.
    """

    manifest: Manifest
    tiles: dict[str, tuple[str, ...]]
    images: tuple[str, ...]
    masks: tuple[str, ...]
    meaning: Legend
    crops: dict[str, int]


def find_splits(contest: _Contest, root: Path) -> tuple[str, ...]:
    """Return the splits that have crops, or at least one tile with image and label image."""
    if not contest.manifest.cuts_images(root):
        return tuple(split for split, folder in _CUT_SPLITS.items() if (root / "ann_dir" / folder).is_dir())
    tiffs = _tiffs(root)
    return tuple(
        split
        for split, tiles in contest.tiles.items()
        if any(all(_paths(contest, tile, tiffs)) for tile in tiles)
    )


def items(
    contest: _Contest, split: str, settings: Settings, report: ConversionReport
) -> Iterator[LabelledFiles]:
    """Yield every tile of a split, or every crop where they are cut already.

    Raises:
        ValueError: a size of crops is asked for though they are cut already.
    """
    if not contest.manifest.cuts_images(settings.root):
        if settings.crop:
            raise ValueError(f"the crops in {settings.root} are cut already; leave out --crop")
        folder = _CUT_SPLITS[split]
        yield from paired(settings.root, split, (f"img_dir/{folder}",), f"ann_dir/{folder}")
        return
    tiffs = _tiffs(settings.root)
    found = {tile: _paths(contest, tile, tiffs) for tile in contest.tiles[split]}
    if absent := [tile for tile, paths in found.items() if not any(paths)]:
        report.warn(f"{len(absent)} of {len(found)} {split} tiles are not there: {', '.join(absent)}")
    for tile, (image, mask) in found.items():
        if image or mask:
            yield LabelledFiles(split, tile, (image,), mask)


def samples(
    contest: _Contest, item: LabelledFiles, settings: Settings, report: ConversionReport
) -> Iterator[Sample]:
    """Yield one question per class about every crop."""
    if not contest.manifest.cuts_images(settings.root):
        for found in read_whole(item, _CUT, settings, report):
            yield from mask_samples(found, _CUT, settings)
        return

    def crops(size: tuple[int, int]) -> Iterator[tuple[str, Window]]:
        for window in windows(size, settings.crop or _SIDE):
            yield f"{item.name}_{window}", window

    usual = contest.crops[item.split] // len(contest.tiles[item.split])
    for found in cut(item, crops, usual, contest.meaning, settings, report):
        yield from mask_samples(found, contest.meaning, settings)


def _tiffs(root: Path) -> list[PurePosixPath]:
    return [PurePosixPath(path.relative_to(root)) for path in sorted(root.rglob("*.tif"))]


def _paths(contest: _Contest, tile: str, tiffs: list[PurePosixPath]) -> tuple[str, str]:
    """A tile's image and label image, "" where missing."""

    def matching(patterns: tuple[str, ...]) -> list[str]:
        return [str(path) for pattern in patterns for path in tiffs if path.match(pattern.format(tile))]

    images = matching(contest.images)
    masks = [path for path in matching(contest.masks) if path not in images]
    return next(iter(images), ""), next(iter(masks), "")


def _converter(contest: _Contest) -> Converter:
    return Converter(
        contest.manifest, partial(find_splits, contest), partial(items, contest), partial(samples, contest)
    )


_LICENCE = "ISPRS benchmark terms: academic, non-commercial use"
_CUT_LAYOUT = "or, cut already: img_dir/{train,val}/*.png ann_dir/{train,val}/*.png"
_NOTES = (
    "clutter is asked for like any class (the published scores include it), boundary pixels are ignored; "
    "counts are crops x classes, training files hold the classes that are there"
)

POTSDAM = _converter(
    _Contest(
        Manifest(
            name="potsdam",
            title="ISPRS Potsdam",
            tasks=(Task.SS,),
            source="https://www.isprs.org/education/benchmarks/UrbanSemLab/2d-sem-label-potsdam.aspx",
            licence=_LICENCE,
            layout="2_Ortho_RGB/top_potsdam_2_10_RGB.tif (or 4_Ortho_RGBIR/*_RGBIR.tif) "
            f"5_Labels_all/top_potsdam_2_10_label.tif (or *_label_noBoundary.tif), {_CUT_LAYOUT}",
            needs=("**/top_potsdam_*_RGB*.tif|img_dir/*/*", "**/top_potsdam_*_label*.tif|ann_dir/*/*"),
            folders=("Potsdam", "potsdam"),
            counts={"train": 3_456 * _QUESTIONS, "test": 2_016 * _QUESTIONS},
            options=("crop", "absent_labels"),
            makes_images=True,
            chunk_items=1,
            precut=("img_dir",),
            notes=f"{_NOTES}; colours outside the palette (tiles 4_12, 6_7) count as the nearest in it.",
        ),
        tiles={
            "train": (
                *("2_10", "2_11", "2_12", "3_10", "3_11", "3_12", "4_10", "4_11", "4_12"),
                *("5_10", "5_11", "5_12", "6_7", "6_8", "6_9", "6_10", "6_11", "6_12"),
                *("7_7", "7_8", "7_9", "7_10", "7_11", "7_12"),
            ),
            "test": (
                *("2_13", "2_14", "3_13", "3_14", "4_13", "4_14", "4_15"),
                *("5_13", "5_14", "5_15", "6_13", "6_14", "6_15", "7_13"),
            ),
        },
        images=("top_potsdam_{}_RGB.tif", "top_potsdam_{}_RGBIR.tif"),
        masks=("top_potsdam_{}_label.tif", "top_potsdam_{}_label_noBoundary.tif"),
        meaning=legend(_NAMES, palette=_PALETTE, nearest=True),
        crops={"train": 3_456, "test": 2_016},
    )
)

VAIHINGEN = _converter(
    _Contest(
        Manifest(
            name="vaihingen",
            title="ISPRS Vaihingen",
            tasks=(Task.SS,),
            source="https://www.isprs.org/education/benchmarks/UrbanSemLab/2d-sem-label-vaihingen.aspx",
            licence=_LICENCE,
            layout="top/top_mosaic_09cm_area1.tif and, in another folder, "
            f"top_mosaic_09cm_area1_noBoundary.tif (or top_mosaic_09cm_area1.tif), {_CUT_LAYOUT}",
            needs=("**/top/top_mosaic_09cm_area*.tif|img_dir/*/*",),
            folders=("Vaihingen", "vaihingen"),
            counts={"train": 344 * _QUESTIONS, "test": 398 * _QUESTIONS},
            options=("crop", "absent_labels"),
            makes_images=True,
            chunk_items=1,
            precut=("img_dir",),
            notes=f"{_NOTES}; --crop 4000 gives whole tiles; images are infrared, red, green.",
        ),
        tiles={
            "train": tuple(
                f"area{number}" for number in (1, 3, 5, 7, 11, 13, 15, 17, 21, 23, 26, 28, 30, 32, 34, 37)
            ),
            "test": tuple(
                f"area{number}" for number in (2, 4, 6, 8, 10, 12, 14, 16, 20, 22, 24, 27, 29, 31, 33, 35, 38)
            ),
        },
        images=("top/top_mosaic_09cm_{}.tif",),
        masks=("top_mosaic_09cm_{}_noBoundary.tif", "top_mosaic_09cm_{}.tif"),
        meaning=legend(_NAMES, palette=_PALETTE),
        crops={"train": 344, "test": 398},
    )
)

CONVERTERS = (POTSDAM, VAIHINGEN)
