"""VDD, the Varied Drone Dataset: photographs of 4000 x 3000 pixels, taken whole. Its test split is scored."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from data_tools.converter import Converter, Manifest, Settings
from data_tools.labelled_images import LabelledFiles, paired, whole_samples
from data_tools.report import ConversionReport
from data_tools.segmentation import legend
from rsunivlm.tasks import Task

# The dataset calls class 1 wall; the published scores name it facade.
_MEANING = legend({0: "other", 1: "facade", 2: "road", 3: "vegetation", 4: "vehicle", 5: "roof", 6: "water"})
_SPLITS = ("train", "val", "test")
MANIFEST = Manifest(
    name="vdd",
    title="VDD (Varied Drone Dataset)",
    tasks=(Task.SS,),
    source="https://huggingface.co/datasets/RussRobin/VDD",
    licence="non-commercial, no redistribution",
    layout="{train,val,test}/{src/*.JPG,gt/*.png}",
    needs=tuple(f"{split}/{kind}/*" for split in _SPLITS for kind in ("src", "gt")),
    folders=("VDD", "vdd"),
    counts={"test": 40 * len(_MEANING.asked)},
    options=("absent_labels",),
    notes="The class other is not asked for.",
)


def find_splits(root: Path) -> tuple[str, ...]:
    """Return the splits that have label images."""
    return tuple(split for split in _SPLITS if (root / split / "gt").is_dir())


def items(split: str, settings: Settings, report: ConversionReport) -> Iterator[LabelledFiles]:
    """Yield every photograph of a split."""
    yield from paired(settings.root, split, (f"{split}/src",), f"{split}/gt")


CONVERTERS = (Converter(MANIFEST, find_splits, items, partial(whole_samples, _MEANING)),)
