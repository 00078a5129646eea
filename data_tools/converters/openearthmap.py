"""OpenEarthMap: land cover of 97 regions in 44 countries, about 1024 x 1024 at 0.25 - 0.5 m.

The download comes without the pictures that belong to xBD, though its lists and labels name them
(``xbd_files.csv`` says which); users may add them. Those that are not there are left out and counted, any
other picture that is missing is an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data_tools.converter import Converter, Manifest, Sample, Settings
from data_tools.files import read_lines
from data_tools.labelled_images import LabelledFiles, read_whole
from data_tools.report import ConversionReport
from data_tools.segmentation import legend, mask_samples
from rsunivlm.tasks import Task

_MEANING = legend(
    {
        0: "unknown",
        1: "bareland",
        2: "rangeland",
        3: "developed space",
        4: "road",
        5: "tree",
        6: "water",
        7: "agriculture land",
        8: "building",
    }
)
MANIFEST = Manifest(
    name="openearthmap",
    title="OpenEarthMap",
    tasks=(Task.SS,),
    source="https://zenodo.org/records/7223446",
    licence="per source image, labels CC BY-NC-SA 4.0",
    layout="{region}/{images,labels}/{region}_1.tif {train,val}.txt [xbd_files.csv]",
    needs=("*/images/*.tif", "*/labels/*.tif", "train.txt", "val.txt"),
    folders=("OpenEarthMap_wo_xBD", "OpenEarthMap", "openearthmap"),
    options=("absent_labels",),
    notes="Pictures of xBD are not in the download and are left out unless added; the test labels are not "
    "public.",
)
_SPLITS = ("train", "val")
_XBD = "xbd_files.csv"


@dataclass(frozen=True)
class _Item:
    """A picture; `from_xbd`: it is none of the download's own."""

    files: LabelledFiles
    from_xbd: bool


def find_splits(root: Path) -> tuple[str, ...]:
    """Return the splits that have a list."""
    return tuple(split for split in _SPLITS if (root / f"{split}.txt").is_file())


def items(split: str, settings: Settings, report: ConversionReport) -> Iterator[_Item]:
    """Yield every picture that the list of a split names."""
    table = read_lines(settings.root / _XBD) if (settings.root / _XBD).is_file() else []
    from_xbd = {line.rpartition(",")[2] for line in table}
    for name in read_lines(settings.root / f"{split}.txt"):
        region = name.rpartition("_")[0]
        files = LabelledFiles(split, Path(name).stem, (f"{region}/images/{name}",), f"{region}/labels/{name}")
        yield _Item(files, name in from_xbd)


def samples(item: _Item, settings: Settings, report: ConversionReport) -> Iterator[Sample]:
    """Yield one question per class."""
    if item.from_xbd and not (settings.root / item.files.images[0]).exists():
        report.left_out["the picture belongs to xBD and has not been added"] += len(_MEANING.asked)
        return
    for found in read_whole(item.files, _MEANING, settings, report):
        yield from mask_samples(found, _MEANING, settings)


CONVERTERS = (Converter(MANIFEST, find_splits, items, samples),)
