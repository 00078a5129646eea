"""ChartQA: questions about charts from the web, by people and by a model from chart summaries.

Per split a folder with ``png/`` and two lists of ``{imgname, query, label}``: ``{split}_human.json`` and
``{split}_augmented.json``. Both are taken; which one a question comes from is its type.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from data_tools.converter import Converter, Manifest, Settings
from data_tools.questions import ImageQuestions, Question, read_questions, samples, text_of
from data_tools.report import ConversionReport
from rsunivlm.tasks import Task

MANIFEST = Manifest(
    name="chartqa",
    title="ChartQA",
    tasks=(Task.VQA,),
    source="https://huggingface.co/datasets/ahmed-masry/ChartQA (the zip file)",
    licence="GPL-3.0 as stated on the dataset's page",
    layout="[ChartQA Dataset/]{train,val}/{png/*.png,{train,val}_{human,augmented}.json}",
    needs=tuple(
        f"train/{name}|ChartQA Dataset/train/{name}"
        for name in ("png/*.png", "train_human.json", "train_augmented.json")
    ),
    folders=("ChartQA", "ChartQA Dataset", "chartqa"),
    counts={"train": 28_299, "val": 1_920},
    notes="Training only: the test split is not converted. The paper takes 3k questions: `samples: 3000` in "
    "the mixture.",
)
_SPLITS = ("train", "val")
_KINDS = ("human", "augmented")


def find_splits(root: Path) -> tuple[str, ...]:
    """Return the splits that have a folder.

    Raises:
        ValueError: there is none.
    """
    folder = _folder(root)
    found = tuple(split for split in _SPLITS if (root / folder / split / "png").is_dir())
    if not found:
        raise ValueError(f"{root} has no train/png; expected layout: {MANIFEST.layout}")
    return found


def items(split: str, settings: Settings, report: ConversionReport) -> Iterator[ImageQuestions]:
    """Yield every chart of a split with its questions of one kind."""
    folder = f"{_folder(settings.root)}{split}/"
    for kind in _KINDS:
        path = settings.root / folder / f"{split}_{kind}.json"
        parse = partial(_question, f"{split}-{kind}", kind, f"{folder}png/")
        yield from read_questions(path, "item", parse, report)


def _folder(root: Path) -> str:
    """The folder of the unpacked archive, as a prefix of paths, where the root is the one around it."""
    return "ChartQA Dataset/" if (root / "ChartQA Dataset").is_dir() else ""


def _question(name: str, kind: str, pictures: str, number: int, entry: Any) -> tuple[str, Question]:
    question = Question(
        f"{name}-{number}", text_of(entry, "query"), answers=(text_of(entry, "label"),), type=kind
    )
    return pictures + text_of(entry, "imgname"), question


CONVERTERS = (Converter(MANIFEST, find_splits, items, samples),)
