"""RSVQA, low and high resolution: questions made by rules from OpenStreetMap about Sentinel-2 / USGS tiles.

Three JSON files per split (images, questions, answers) hold *all* ids of the dataset; entries outside the
split are stubs ``{"id": n, "active": false}``. The way to the pairs is: active images, their
``questions_ids``, the first of each question's ``answers_ids``; ids are looked up, never assumed to be
positions. The files are streamed and the lookup is a database on disk, for the high-resolution set has a
million questions.

All question types are kept (the paper's 57k are the whole LR train split, counting included); the type stands
in the targets so that an evaluation can leave counting out.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from data_tools.converter import Converter, Manifest, Sample, Settings
from data_tools.files import image_size, require, stream_json
from data_tools.report import ConversionReport
from data_tools.scratch import scratch_database
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
    """One image with its questions; `broken`: those that cannot be read, and why."""

    split: str
    image: str
    questions: tuple[_Question, ...]
    broken: tuple[tuple[str, str], ...]


def find_splits(layout: _Layout, manifest: Manifest, root: Path) -> tuple[str, ...]:
    """Return the splits that have a questions file."""
    require(root, layout.folder, layout=manifest.layout)
    return tuple(split for split in manifest.counts if (root / layout.file(split, "questions")).is_file())


def items(layout: _Layout, split: str, settings: Settings, report: ConversionReport) -> Iterator[_Item]:
    """Yield every active image of a split with its questions.

    Raises:
        ValueError: a file is missing, cut short or has no entries.
    """
    images, questions, answers = (
        _active(settings.root / layout.file(split, kind), kind) for kind in ("images", "questions", "answers")
    )
    with scratch_database() as database:
        _store(database, questions, answers)
        for image in images:
            found, broken = [], []
            for question_id in _listed(image, "questions_ids"):
                try:
                    found.append(_lookup(database, question_id))
                except ValueError as error:
                    broken.append((f"{layout.file(split, 'questions')} question {question_id}", str(error)))
            yield _Item(split, f"{layout.folder}/{image['id']}.tif", tuple(found), tuple(broken))


def samples(item: _Item, settings: Settings, report: ConversionReport) -> Iterator[Sample]:
    """Yield the questions about an image; a missing image counts once, with all of them."""
    try:
        image_size(resolve_image(settings.root, item.image))
    except ValueError as error:
        report.skip(item.image, str(error), samples=max(1, len(item.questions) + len(item.broken)))
        return
    for name, reason in item.broken:
        report.skip(name, reason)
    for question in item.questions:
        yield Sample(
            id=f"{item.split}-{question.id}",
            images=(item.image,),
            task=Task.VQA,
            slots={"question": question.text},
            answers=(question.answer,),
            target={"answer": question.answer, "type": question.type},
        )


def _active(path: Path, kind: str) -> Iterator[dict[str, Any]]:
    empty = True
    for entry in stream_json(path, f"{kind}.item"):
        empty = False
        if isinstance(entry, dict) and entry.get("active") and _is_id(entry.get("id")):
            yield entry
    if empty:
        raise ValueError(f"{path} has no entries under {kind!r}")


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and abs(value) < 2**63


def _listed(entry: dict[str, Any], key: str) -> list[Any]:
    value = entry.get(key)
    return value if isinstance(value, list) else []


def _store(
    database: sqlite3.Connection, questions: Iterator[dict[str, Any]], answers: Iterator[dict[str, Any]]
) -> None:
    database.execute("CREATE TABLE questions (id INTEGER PRIMARY KEY, text TEXT, type TEXT, answer INTEGER)")
    database.execute("CREATE TABLE answers (id INTEGER PRIMARY KEY, text TEXT)")
    database.execute("BEGIN")
    for entry in questions:
        answer = next(filter(_is_id, _listed(entry, "answers_ids")[:1]), None)
        database.execute(
            "INSERT OR REPLACE INTO questions VALUES (?, ?, ?, ?)",
            (entry["id"], _text(entry, "question"), _text(entry, "type"), answer),
        )
    for entry in answers:
        database.execute(
            "INSERT OR REPLACE INTO answers VALUES (?, ?)", (entry["id"], _text(entry, "answer"))
        )
    database.execute("COMMIT")


def _text(entry: dict[str, Any], key: str) -> str:
    value = entry.get(key)
    return "" if value is None else str(value).strip()


def _lookup(database: sqlite3.Connection, question_id: Any) -> _Question:
    row = None
    if _is_id(question_id):
        row = database.execute(
            "SELECT questions.text, type, answer, answers.text FROM questions "
            "LEFT JOIN answers ON answers.id = answer WHERE questions.id = ?",
            (question_id,),
        ).fetchone()
    if row is None:
        raise ValueError("is not among the active questions")
    text, kind, answer_id, answer = row
    if answer is None:
        raise ValueError(f"its answer {answer_id} is not among the active answers")
    if not text or not answer:
        raise ValueError("question or answer is empty")
    return _Question(question_id, text, kind, answer)


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
