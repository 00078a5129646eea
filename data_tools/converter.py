"""What a converter is.

A converter is a small frozen `Manifest` (what the dataset is, under which terms, how it lies on disk) and
three functions. One finds the splits below a folder. The second walks through the annotations of a split and
yields *items*: small values, cheap to make, each holding all there is to know about one image (or pair). The
third turns one item into `Sample`s and does the costly work: opening images, encoding masks, cutting crops.
It sees one item only, so that items may be worked on in any number of processes without changing the result.

A sample is a question with its truth, not yet a record: `data_tools.chunks` decides about templates, about
turns per record and about training or evaluation form, so that all datasets get the same treatment.
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
        layout: the files expected below ``--root``, in words.
        needs: glob patterns relative to the root; each must match something in a complete download. "a|b"
            asks for one of two.
        folders: names that the download's folder usually has, for finding it below a common data folder.
        counts: published number of questions per split, where known. A split of several tasks counts those of
            `counted_task`.
        counted_task: the task that `counts` counts; None counts all.
        options: fields of `Settings` that only some datasets know and this one does.
        makes_images: its images are cut from rasters into `Settings.out`; paths are then relative to that.
        precut: glob patterns relative to the root; where one matches, the images there are cut already, none
            are made and paths are relative to the root.
        chunk_items: how many items a worker takes at a time where images are cut, 0 for the usual number: 1
            where an item is a whole raster, which is as much work as hundreds of ordinary images.
        notes: decisions where the sources are silent, and leaks to know about.
    """

    name: str
    title: str
    tasks: tuple[Task, ...]
    source: str
    licence: str
    layout: str
    needs: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    counted_task: Task | None = None
    options: tuple[str, ...] = ()
    makes_images: bool = False
    precut: tuple[str, ...] = ()
    chunk_items: int = 0
    notes: str = ""

    @property
    def granularities(self) -> tuple[Granularity, ...]:
        """The experts its records train, in order."""
        return tuple(sorted({task.granularity for task in self.tasks}))

    def cuts_images(self, root: Path) -> bool:
        """Whether a conversion of this root cuts images out of rasters."""
        return self.makes_images and not any(any(root.glob(pattern)) for pattern in self.precut)


@dataclass(frozen=True)
class Sample:
    """One question about one image or pair, with its truth.

    Attributes:
        id: unique within the dataset and split.
        images: paths relative to the dataset's image root.
        task: what is asked.
        slots: values for the slots of the task's prompt templates.
        answers: equally right answers as text; training takes each in a record of its own, evaluation the
            first (all stand in ``target``).
        target: ground truth in its own units, see `rsunivlm.data.records`.
        training: belongs into a training file.
        conversation: samples of one item with the same name here are turns of one dialogue: they make one
            training record, in order, whatever the number of turns per record. All must have one task.
    """

    id: str
    images: tuple[str, ...]
    task: Task
    slots: Mapping[str, str]
    answers: tuple[str, ...]
    target: dict[str, Any]
    training: bool = True
    conversation: str = ""


@dataclass(frozen=True)
class Settings:
    """What a user may choose about reading a dataset.

    Attributes:
        root: the dataset's folder.
        out: folder for images that the converter makes (see `Manifest.makes_images`).
        source: name that the records carry; "" for the converter's.
        boxes: writes boxes as text.
        masks: writes masks as text.
        seed: of every random choice.
        absent_labels: segmentation training also asks for this many classes per image that are not there.
        include_overlap: also train on images known to be in the test set of another benchmark.
        classes: pixel value -> class name, for mask folders that carry no ``classes.json``.
        crop: side in pixels of the crops that large rasters are cut into; 0 for the dataset's usual size.
        layout: which of several published layouts lies at the root; "" lets the converter see for itself.
    """

    root: Path
    out: Path | None = None
    source: str = ""
    boxes: BoxCodec = field(default_factory=BoxCodec)
    masks: MaskCodec = field(default_factory=MaskCodec)
    seed: int = 0
    absent_labels: int = 0
    include_overlap: bool = False
    classes: Mapping[int, str] | None = None
    crop: int = 0
    layout: str = ""

    def image_root(self, manifest: Manifest) -> Path:
        """The folder that the image paths of the dataset's records are relative to."""
        if not manifest.cuts_images(self.root):
            return self.root
        if self.out is None:
            raise ValueError(f"{manifest.name} is cut into crops; name a folder for them")
        return self.out


@dataclass(frozen=True)
class Converter:
    """A dataset's manifest and its reader.

    Attributes:
        manifest: what it is.
        find_splits: names of the splits below a root; raises ValueError where the layout is not there.
        items: stream of one split's items, in a fixed order; picklable values, and functions must be
            module-level (or `functools.partial` of such), for worker processes. What makes the whole dataset
            unusable raises ValueError; what spoils one item goes to the report.
        samples: the samples of one item; bad ones go to the report.
    """

    manifest: Manifest
    find_splits: Callable[[Path], tuple[str, ...]]
    items: Callable[[str, Settings, ConversionReport], Iterator[Any]]
    samples: Callable[[Any, Settings, ConversionReport], Iterator[Sample]]

    def read(self, split: str, settings: Settings, report: ConversionReport) -> Iterator[Sample]:
        """Stream the samples of a split, those of one image in a row."""
        for item in self.items(split, settings, report):
            yield from self.samples(item, settings, report)
