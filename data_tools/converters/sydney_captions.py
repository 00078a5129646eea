"""Sydney-captions: 613 scenes of Sydney with five one-sentence captions each.

The layout is that of UCM-captions: ``imgs/<number>.tif`` and a caption file that has the split. Nothing in it
tells the scene class of an image, so there are captions only.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from data_tools.captions import read_entries
from data_tools.converter import Converter, Manifest, Settings
from data_tools.files import require
from data_tools.report import ConversionReport
from data_tools.scenes import Scene, samples
from rsunivlm.tasks import Task

MANIFEST = Manifest(
    name="sydney_captions",
    title="Sydney-captions",
    tasks=(Task.CAP,),
    source="https://github.com/201528014227051/RSICD_optimal (links to the archive)",
    licence="none stated; treat as academic use only",
    layout="imgs/*.tif dataset.json",
    needs=("imgs/*", "dataset.json"),
    folders=("Sydney_captions", "Sydney-captions", "Sydney", "sydney"),
    counts={"train": 497, "val": 58, "test": 58},
    notes="All 613 images lie close together in one city, whatever their split.",
)
_ANNOTATIONS = "dataset.json"


def find_splits(root: Path) -> tuple[str, ...]:
    """Return the values of the split field."""
    require(root, "imgs", _ANNOTATIONS, layout=MANIFEST.layout)
    return tuple(sorted({entry["split"] for entry in read_entries(root / _ANNOTATIONS)}))


def items(split: str, settings: Settings, report: ConversionReport) -> Iterator[Scene]:
    """Yield every image of a split."""
    for entry in read_entries(settings.root / _ANNOTATIONS):
        if entry["split"] == split:
            filename = entry["filename"]
            yield Scene(split, Path(filename).stem, f"imgs/{filename}", label="", classes=(), entry=entry)


CONVERTERS = (Converter(MANIFEST, find_splits, items, samples),)
