"""WHU-CD: changed buildings of Christchurch between 2012 and 2016, aerial pictures of 0.2 m.

Two layouts are in use (``--layout``, else told by what is there):

- ``whucd256``: tiles of 256 x 256 that all peers use, with lists (5,947 / 743 / 744).
- ``official``: the authors' mosaics of two splits, cut here into tiles of 256 x 256 without overlap; what is
  narrower than a tile at the right and lower border is left out. These tiles are not those of the lists.

Every pair is asked for changed buildings, also where there are none.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from data_tools.converter import Converter, Manifest, Sample, Settings
from data_tools.crops import Window, windows
from data_tools.files import read_lines
from data_tools.labelled_images import LabelledFiles, cut, read_whole
from data_tools.report import ConversionReport
from data_tools.segmentation import change_samples, legend
from rsunivlm.tasks import Task

_SIDE = 256
_NAMES = {0: "background", 255: "building"}
_TILES = legend(_NAMES)
# The mosaics' change labels mark change by 1, copies by 255.
_MOSAICS = legend(_NAMES, codes={0: 0, 1: 255, 255: 255})
# Full tiles in mosaics of 21243 x 15354 and 11265 x 15354 pixels.
_USUAL = {"train": 82 * 59, "test": 44 * 59}
MANIFEST = Manifest(
    name="whu_cd",
    title="WHU-CD (WHU building change detection)",
    tasks=(Task.CD,),
    source="https://study.rsgis.whu.edu.cn/pages/download/building_dataset.html",
    licence="none stated; treat as academic use only",
    layout="{A,B,label}/whucd_00001.png list/{train,val,test}.txt, or "
    "[1. The two-period image data/]{2012,2016}/whole_image/{train,test}/image/*.tif "
    "change_label/{train,test}/change_label.tif",
    needs=(
        "A/*|**/2012/whole_image/*/image/*.tif",
        "B/*|**/2016/whole_image/*/image/*.tif",
        "label/*|**/change_label/*/change_label.tif",
        "list/test.txt|**/change_label/test/change_label.tif",
    ),
    folders=("WHU-CD-256", "WHU-CD", "whu_cd", "Building change detection dataset_add"),
    counts={"train": 5_947, "val": 743, "test": 744},
    options=("layout", "crop"),
    makes_images=True,
    chunk_items=1,
    precut=("list",),
    notes="Counts are those of the 256 x 256 tiles; the official mosaics give 4,838 / 2,596 other tiles.",
)
_SPLITS = ("train", "val", "test")
_LAYOUTS = ("whucd256", "official")


def find_splits(root: Path) -> tuple[str, ...]:
    """Return the splits that have a list or a mosaic."""
    if _layout(root) == "whucd256":
        return tuple(split for split in _SPLITS if (root / "list" / f"{split}.txt").is_file())
    base = root / _base(root)
    return tuple(split for split in _USUAL if (base / "change_label" / split).is_dir())


def items(split: str, settings: Settings, report: ConversionReport) -> Iterator[LabelledFiles]:
    """Yield every tile of a list, or the one mosaic of a split.

    Raises:
        ValueError: ``--layout`` or ``--crop`` does not fit what is there.
    """
    layout = _layout(settings.root)
    if settings.layout not in ("", layout):
        raise ValueError(
            f"{settings.root} has the layout {layout}, not {settings.layout!r} (one of {', '.join(_LAYOUTS)})"
        )
    if layout == "official":
        base = _base(settings.root)
        images = tuple(f"{base}{year}/whole_image/{split}/image/{year}_{split}.tif" for year in (2012, 2016))
        yield LabelledFiles(split, "whucd", images, f"{base}change_label/{split}/change_label.tif")
        return
    if settings.crop:
        raise ValueError(f"the tiles in {settings.root} are cut already; leave out --crop")
    for name in read_lines(settings.root / "list" / f"{split}.txt"):
        yield LabelledFiles(split, Path(name).stem, (f"A/{name}", f"B/{name}"), f"label/{name}")


def samples(item: LabelledFiles, settings: Settings, report: ConversionReport) -> Iterator[Sample]:
    """Yield one question about changed buildings per tile."""
    if _layout(settings.root) == "whucd256":
        for found in read_whole(item, _TILES, settings, report):
            yield from change_samples(found, _TILES, settings)
        return

    def tiles(size: tuple[int, int]) -> Iterator[tuple[str, Window]]:
        for window in windows(size, settings.crop or _SIDE, rest="drop"):
            yield f"{item.name}_{window}", window

    for found in cut(item, tiles, _USUAL[item.split], _MOSAICS, settings, report):
        yield from change_samples(found, _MOSAICS, settings)


def _layout(root: Path) -> str:
    return "official" if MANIFEST.cuts_images(root) else "whucd256"


def _base(root: Path) -> str:
    """The folder of the mosaics as the beginning of a path: the archive nests them in another one."""
    nested = "1. The two-period image data"
    return f"{nested}/" if (root / nested).is_dir() else ""


CONVERTERS = (Converter(MANIFEST, find_splits, items, samples),)
