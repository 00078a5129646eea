"""RSVQA, low and high resolution: questions made by rules from OpenStreetMap about Sentinel-2 / USGS tiles.

Three JSON files per split (images, questions, answers) hold *all* ids of the dataset; entries outside the
split are stubs ``{"id": n, "active": false}``. The way to the pairs is: active images, their
``questions_ids``, the first of each question's ``answers_ids``; ids are looked up, never assumed to be
positions. All question types are kept (the paper's 57k are the whole LR train split, counting included); the
type stands in the targets so that an evaluation can leave counting out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from data_tools.converter import Converter, Manifest, Sample, Settings
from data_tools.files import image_size, read_json, require
from data_tools.report import ConversionReport
from rsunivlm.data.records import resolve_image
from rsunivlm.tasks import Task


@dataclass(frozen=True)
class _Layout:
    folder: str
    prefix: str

    def file(self, split: str, kind: str) -> str:
        return f"{self.prefix}_{split}_{kind}.json"


@dataclass(frozen=True)
class _Question:
    id: int
    text: str
    type: str
    answer: str


@dataclass(frozen=True)
class _Item:
    """One image with its questions."""

    split: str
    image: str
    questions: tuple[_Question, ...]


def find_splits(layout: _Layout, manifest: Manifest, root: Path) -> tuple[str, ...]:
    """Return the splits that have a questions file."""
    require(root, layout.folder, layout=manifest.layout)
    return tuple(split for split in manifest.counts if (root / layout.file(split, "questions")).is_file())


def items(layout: _Layout, split: str, settings: Settings, report: ConversionReport) -> Iterator[_Item]:
    """Yield every active image of a split with its questions."""
    images, questions, answers = (
        _active(settings.root / layout.file(split, kind), kind) for kind in ("images", "questions", "answers")
    )
    for image_id, image in images.items():
        found = []
        for question_id in image.get("questions_ids", []):
            try:
                question, kind, answer = _pair(question_id, questions, answers)
            except ValueError as error:
                report.skip(f"{layout.file(split, 'questions')} question {question_id}", str(error))
                continue
            found.append(_Question(question_id, question, kind, answer))
        yield _Item(split, f"{layout.folder}/{image_id}.tif", tuple(found))


def samples(item: _Item, settings: Settings, report: ConversionReport) -> Iterator[Sample]:
    """Yield the questions about an image."""
    try:
        image_size(resolve_image(settings.root, item.image))
    except ValueError as error:
        report.skip(item.image, str(error), samples=max(1, len(item.questions)))
        return
    for question in item.questions:
        yield Sample(
            id=f"{item.split}-{question.id}",
            images=(item.image,),
            task=Task.VQA,
            slots={"question": question.text},
            answers=(question.answer,),
            target={"answer": question.answer, "type": question.type},
        )


def _active(path: Path, kind: str) -> dict[int, dict[str, Any]]:
    content = read_json(path)
    entries = content.get(kind) if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise ValueError(f"{path} has no list {kind!r}")
    active = (entry for entry in entries if isinstance(entry, dict) and entry.get("active"))
    return {entry["id"]: entry for entry in active if isinstance(entry.get("id"), int)}


def _pair(question_id: int, questions: dict[int, Any], answers: dict[int, Any]) -> tuple[str, str, str]:
    question = questions.get(question_id)
    if question is None:
        raise ValueError("is not among the active questions")
    ids = question.get("answers_ids") or [None]
    answer = answers.get(ids[0])
    if answer is None:
        raise ValueError(f"its answer {ids[0]} is not among the active answers")
    texts = [str(value or "").strip() for value in (question.get("question"), answer.get("answer"))]
    if not all(texts):
        raise ValueError("question or answer is empty")
    return texts[0], str(question.get("type", "")), texts[1]


_LOW = _Layout("Images_LR", "LR_split")
_HIGH = _Layout("Data", "USGS_split")


def _needs(layout: _Layout) -> tuple[str, ...]:
    return (f"{layout.folder}/*", *(layout.file("*", kind) for kind in ("images", "questions", "answers")))


def _converter(manifest: Manifest, layout: _Layout) -> Converter:
    return Converter(manifest, partial(find_splits, layout, manifest), partial(items, layout), samples)


LOW_RESOLUTION = _converter(
    Manifest(
        name="rsvqa_lr",
        title="RSVQA-LR",
        tasks=(Task.VQA,),
        source="https://zenodo.org/records/6344334",
        licence="CC-BY-4.0 as stated on Zenodo; cite the dataset",
        layout="Images_LR/{id}.tif LR_split_{split}_{images,questions,answers}.json",
        needs=_needs(_LOW),
        folders=("RSVQA_LR", "RSVQA-LR", "rsvqa_lr"),
        counts={"train": 57_223, "val": 10_005, "test": 10_004},
    ),
    _LOW,
)
HIGH_RESOLUTION = _converter(
    Manifest(
        name="rsvqa_hr",
        title="RSVQA-HR",
        tasks=(Task.VQA,),
        source="https://zenodo.org/records/6344367",
        licence="CC-BY-4.0 as stated on Zenodo; cite the dataset",
        layout="Data/{id}.tif USGS_split_{split}_{images,questions,answers}.json",
        needs=_needs(_HIGH),
        folders=("RSVQA_HR", "RSVQA-HR", "rsvqa_hr"),
        counts={"train": 625_340, "val": 102_843, "test": 222_684, "test_phili": 105_647},
        notes="The paper uses 100k training questions: take them with `samples: 100000` in the mixture.",
    ),
    _HIGH,
)

CONVERTERS = (LOW_RESOLUTION, HIGH_RESOLUTION)
