"""UC Merced land use, in either of its two layouts.

UCM-captions: ``imgs/<1..2100>.tif`` with five captions each in ``dataset.json``, which also has the split.
Its numbers count the land use images class by class in alphabetical order, 100 each, so they tell the class.

The land use download itself: ``Images/<class>/<class>NN.tif``, classes only, without a split; all of it is
``train`` (UC Merced is no benchmark here). Where both lie below one root, the captions are read: they show
the same 2,100 images and know a split.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from data_tools.captions import read_entries
from data_tools.converter import Converter, Manifest, Settings
from data_tools.files import require
from data_tools.labels import class_words
from data_tools.report import ConversionReport
from data_tools.scenes import Scene, class_list, find_class_root, labelled_images, samples
from rsunivlm.tasks import Task

_NAMES = (
    "agricultural airplane baseballdiamond beach buildings chaparral denseresidential forest freeway "
    "golfcourse harbor intersection mediumresidential mobilehomepark overpass parkinglot river runway "
    "sparseresidential storagetanks tenniscourt"
)
CLASSES = class_list(_NAMES)
# UCM-captions numbers the images in the order of the published names.
_NUMBERED = tuple(class_words(name) for name in sorted(_NAMES.split()))
MANIFEST = Manifest(
    name="ucm",
    title="UC Merced land use, UCM-captions",
    tasks=(Task.CAP, Task.SC),
    source="http://weegee.vision.ucmerced.edu/datasets/landuse.html; UCM-captions: "
    "https://github.com/201528014227051/RSICD_optimal (links to the archive)",
    licence="not known; see the download's page",
    layout="imgs/*.tif dataset.json (UCM-captions) or Images/<class>/*.tif (UCMerced_LandUse)",
    needs=("imgs/*|**/Images/*/*", "dataset.json|**/Images/*/*"),
    folders=("UCM_captions", "UCM-captions", "UCMerced_LandUse", "UCM", "ucm"),
    notes="2,100 images in either layout. UCM-captions gives both tasks and a split, the class folders "
    "classes only, all for training. The paper trains on 2,000 images (`samples: 2000` in the mixture).",
)
_ANNOTATIONS = "dataset.json"
_PER_CLASS = 100


def find_splits(root: Path) -> tuple[str, ...]:
    """Return the values of the split field, or ``train`` for the layout of class folders."""
    if (root / _ANNOTATIONS).is_file():
        require(root, "imgs", layout=MANIFEST.layout)
        return tuple(sorted({entry["split"] for entry in read_entries(root / _ANNOTATIONS)}))
    find_class_root(root, CLASSES, MANIFEST.layout)
    return ("train",)


def items(split: str, settings: Settings, report: ConversionReport) -> Iterator[Scene]:
    """Yield every image of a split."""
    root = settings.root
    if (root / _ANNOTATIONS).is_file():
        yield from _captioned(split, root, report)
        return
    folder = find_class_root(root, CLASSES, MANIFEST.layout)
    for label, path in labelled_images(folder, CLASSES, MANIFEST.title, report):
        yield Scene(split, path.stem, path.relative_to(root).as_posix(), label, CLASSES)


def _captioned(split: str, root: Path, report: ConversionReport) -> Iterator[Scene]:
    for entry in read_entries(root / _ANNOTATIONS):
        if entry["split"] != split:
            continue
        filename = entry["filename"]
        stem = Path(filename).stem
        label, last = "", _PER_CLASS * len(_NUMBERED)
        if stem.isdecimal() and 1 <= int(stem) <= last:
            label = _NUMBERED[(int(stem) - 1) // _PER_CLASS]
        else:
            report.skip(f"class of {filename}", f"the image is not numbered 1 to {last}")
        yield Scene(split, stem, f"imgs/{filename}", label, CLASSES, entry)


CONVERTERS = (Converter(MANIFEST, find_splits, items, samples),)
