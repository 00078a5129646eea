"""DVQA: questions made by rules about drawn bar charts.

``{split}_qa.json`` is one large list of ``{image, question, answer, question_type, bbox_answer,
question_id}``. Answers are kept as published: numbers in words count something, numbers in digits are values
of the chart. Where an answer stands in the chart (``bbox_answer``) is not asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from data_tools.converter import Converter, Manifest, Settings
from data_tools.files import require
from data_tools.questions import ImageQuestions, Question, read_questions, samples, text_of
from data_tools.report import ConversionReport
from rsunivlm.tasks import Task

MANIFEST = Manifest(
    name="dvqa",
    title="DVQA",
    tasks=(Task.VQA,),
    source="https://github.com/kushalkafle/DVQA_dataset",
    licence="CC BY-NC 4.0",
    layout="images/bar_{train,val_easy,val_hard}_*.png [qa/]{train,val_easy,val_hard}_qa.json",
    needs=("images/bar_train_*.png", "train_qa.json|qa/train_qa.json"),
    folders=("DVQA", "DVQA_dataset", "dvqa"),
    notes="Training only. The paper takes 40k questions: `samples: 40000` in the mixture.",
)
_SPLITS = ("train", "val_easy", "val_hard")


def find_splits(root: Path) -> tuple[str, ...]:
    """Return the splits that have a questions file."""
    require(root, "images", layout=MANIFEST.layout)
    return tuple(split for split in _SPLITS if _questions_file(root, split).is_file())


def items(split: str, settings: Settings, report: ConversionReport) -> Iterator[ImageQuestions]:
    """Yield every chart of a split with its questions."""
    path = _questions_file(settings.root, split)
    yield from read_questions(path, "item", partial(_question, split), report)


def _questions_file(root: Path, split: str) -> Path:
    inner = root / "qa" / f"{split}_qa.json"
    return inner if inner.is_file() else root / f"{split}_qa.json"


def _question(split: str, number: int, entry: Any) -> tuple[str, Question]:
    return f"images/{text_of(entry, 'image')}", Question(
        id=f"{split}-{text_of(entry, 'question_id')}",
        text=text_of(entry, "question"),
        answers=(text_of(entry, "answer"),),
        type=str(entry.get("question_type", "")),
    )


CONVERTERS = (Converter(MANIFEST, find_splits, items, samples),)
