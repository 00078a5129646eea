"""What a converter is.

A converter is a small frozen `Manifest` (what the dataset is, under which terms, how it lies on disk) and two
functions: one finds the splits below a folder, the other reads one split as a stream of `Sample`. A sample is
a question with its truth, not yet a record: `data_tools.conversion` decides about templates, about turns per
record and about training or evaluation form, so that all datasets get the same treatment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_tools.report import ConversionReport
from rsunivlm.codecs import BoxCodec, MaskCodec
from rsunivlm.tasks import Granularity, Task


@dataclass(frozen=True)
class Manifest:
    """What a user has to know about a dataset before converting it.

    Attributes:
        name: name on the command line and `source` of the records.
        title: name in publications.
        tasks: tasks its records teach.
        source: where users download it.
        licence: its terms, or that none are stated.
        layout: the files expected below ``--root``.
        counts: published number of samples per split, where known.
        options: fields of `Settings` that only some datasets know and this one does.
        notes: decisions where the sources are silent, and leaks to know about.
    """

    name: str
    title: str
    tasks: tuple[Task, ...]
    source: str
    licence: str
    layout: str
    counts: Mapping[str, int] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    notes: str = ""

    @property
    def granularities(self) -> tuple[Granularity, ...]:
        """The experts its records train, in order."""
        return tuple(sorted({task.granularity for task in self.tasks}))


@dataclass(frozen=True)
class Sample:
    """One question about one image or pair, with its truth.

    Attributes:
        id: unique within the dataset and split.
        images: paths relative to the dataset root.
        task: what is asked.
        slots: values for the slots of the task's prompt templates.
        answers: equally right answers as text; training takes each in a record of its own, evaluation the
            first (all stand in ``target``).
        target: ground truth in its own units, see `rsunivlm.data.records`.
        training: belongs into a training file.
    """

    id: str
    images: tuple[str, ...]
    task: Task
    slots: Mapping[str, str]
    answers: tuple[str, ...]
    target: dict[str, Any]
    training: bool = True


@dataclass(frozen=True)
class Settings:
    """What a user may choose about reading a dataset.

    Attributes:
        root: the dataset's folder; also the image root of its records.
        source: name that the records carry; "" for the converter's.
        boxes: writes boxes as text.
        masks: writes masks as text.
        seed: of every random choice.
        absent_labels: segmentation training also asks for this many classes per image that are not there.
        include_overlap: also train on images known to be in the test set of another benchmark.
        classes: pixel value -> class name, for mask folders that carry no ``classes.json``.
    """

    root: Path
    source: str = ""
    boxes: BoxCodec = field(default_factory=BoxCodec)
    masks: MaskCodec = field(default_factory=MaskCodec)
    seed: int = 0
    absent_labels: int = 0
    include_overlap: bool = False
    classes: Mapping[int, str] | None = None


@dataclass(frozen=True)
class Converter:
    """A dataset's manifest and its reader.

    Attributes:
        manifest: what it is.
        find_splits: names of the splits below a root; raises ValueError where the layout is not there.
        read: stream of one split's samples, those of one image in a row. Bad items go to the report; what
            makes the whole dataset unusable raises ValueError.
    """

    manifest: Manifest
    find_splits: Callable[[Path], tuple[str, ...]]
    read: Callable[[str, Settings, ConversionReport], Iterator[Sample]]
