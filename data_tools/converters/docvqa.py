"""DocVQA (single page): questions about scanned documents, read from the page.

``{split}_v1.0.json`` or ``{split}_v1.0_withQT.json`` (with question types) holds ``{"data": [{questionId,
question, image: "documents/x.png", answers: [...]}]}``. The download has changed its folders over time; the
pages are looked for as stated, below the split's folder, and in ``spdocvqa_images``.

A question may have several right answers: training takes the first, the target keeps all.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from data_tools.converter import Converter, Manifest, Settings
from data_tools.questions import ImageQuestions, Question, read_questions, samples, text_of
from data_tools.report import ConversionReport
from rsunivlm.tasks import Task

MANIFEST = Manifest(
    name="docvqa",
    title="DocVQA (single page)",
    tasks=(Task.VQA,),
    source="https://www.docvqa.org/datasets/docvqa (downloads need an account of the challenge's portal)",
    licence="terms of the challenge's portal; the documents are from the UCSF Industry Documents Library",
    layout="[spdocvqa_qas/ | {split}/]{train,val}_v1.0[_withQT].json "
    "{documents | {split}/documents | spdocvqa_images}/*.png",
    needs=(
        "train_v1.0*.json|spdocvqa_qas/train_v1.0*.json|train/train_v1.0*.json",
        "documents/*|train/documents/*|spdocvqa_images/*",
    ),
    folders=("DocVQA", "docvqa", "spdocvqa"),
    counts={"train": 39_463, "val": 5_349},
    notes="Training only: the test split has no answers. The paper takes 2k questions: `samples: 2000` in "
    "the mixture.",
)
_SPLITS = ("train", "val")


def find_splits(root: Path) -> tuple[str, ...]:
    """Return the splits that have a questions file.

    Raises:
        ValueError: there is none.
    """
    found = tuple(split for split in _SPLITS if _questions_file(root, split).is_file())
    if not found:
        raise ValueError(f"{root} has no train_v1.0.json; expected layout: {MANIFEST.layout}")
    return found


def items(split: str, settings: Settings, report: ConversionReport) -> Iterator[ImageQuestions]:
    """Yield every page of a split with its questions."""
    path = _questions_file(settings.root, split)
    yield from read_questions(path, "data.item", partial(_question, split, settings.root), report)


def _questions_file(root: Path, split: str) -> Path:
    names = (f"{split}_v1.0_withQT.json", f"{split}_v1.0.json")
    paths = [root / folder / name for name in names for folder in ("", "spdocvqa_qas", split)]
    return next((path for path in paths if path.is_file()), paths[0])


def _question(split: str, root: Path, number: int, entry: Any) -> tuple[str, Question]:
    stated = text_of(entry, "image")
    answers = entry.get("answers")
    texts = [text_of({"answer": answer}, "answer") for answer in answers or []]
    if not texts:
        raise ValueError("has no answers")
    question = Question(
        id=f"{split}-{text_of(entry, 'questionId')}",
        text=text_of(entry, "question"),
        answers=tuple(dict.fromkeys(texts)),
        type=", ".join(entry.get("question_types") or []),
    )
    return _page(root, split, stated), question


def _page(root: Path, split: str, stated: str) -> str:
    """Where a page lies; as stated where it lies nowhere, for the report."""
    places = (stated, f"{split}/{stated}", f"spdocvqa_images/{PurePosixPath(stated).name}")
    return next((place for place in places if (root / place).is_file()), stated)


CONVERTERS = (Converter(MANIFEST, find_splits, items, samples),)
