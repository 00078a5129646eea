"""AI2D: multiple-choice questions about diagrams from school books.

``questions/{image}.json`` per diagram: ``{"imageName", "questions": {text: {answerTexts, correctAnswer,
abcLabel, questionId}}}``.

The choices stand behind the question and the answer is the text of the right one, as in the paper's prompt
for scene classification. A letter would be ambiguous here: many diagrams have letters of their own, and
questions flagged ``abcLabel`` ask for one of them. Those refer to a version of the picture in which letters
cover the labels; it is taken from ``abc_images`` where the download has that folder, else such questions are
left out, since the plain picture does not show what they ask about.

Diagrams listed in ``ai2d_test_ids.csv`` (the published test split) are left out of training.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_tools.converter import Converter, Manifest, Sample, Settings
from data_tools.files import read_json, require
from data_tools.questions import ImageQuestions, Question, text_of
from data_tools.questions import samples as question_samples
from data_tools.report import ConversionReport
from rsunivlm.tasks import Task

MANIFEST = Manifest(
    name="ai2d",
    title="AI2D",
    tasks=(Task.VQA,),
    source="https://prior.allenai.org/projects/diagram-understanding",
    licence="not stated in the archive; see the project's page",
    layout="images/*.png questions/*.png.json ai2d_test_ids.csv [abc_images/*.png]",
    needs=("images/*.png", "questions/*.json", "ai2d_test_ids.csv"),
    folders=("ai2d", "AI2D"),
    # The known training file of 12,413 questions is all that the test list does not name.
    counts={"train": 12_413},
    notes="Training only: diagrams of the published test list are left out. The paper takes 2k questions: "
    "`samples: 2000` in the mixture.",
)
_TEST_LIST = "ai2d_test_ids.csv"
_CHOICES = "{question}\nChoose from: {choices}. Only output the choice."


@dataclass(frozen=True)
class _Diagram:
    """A file of questions; `has_letters`: there are pictures with letters over the labels."""

    file: str
    has_letters: bool


def find_splits(root: Path) -> tuple[str, ...]:
    """Return the one split there is."""
    require(root, "images", "questions", layout=MANIFEST.layout)
    return ("train",)


def items(split: str, settings: Settings, report: ConversionReport) -> Iterator[_Diagram]:
    """Yield every diagram that is not in the published test split."""
    root = settings.root
    tested: set[str] = set()
    if (root / _TEST_LIST).is_file():
        tested = set((root / _TEST_LIST).read_text(encoding="utf-8").split())
    else:
        report.warn(f"{_TEST_LIST} is missing: the diagrams of the published test split are among the others")
    has_letters = (root / "abc_images").is_dir()
    for path in sorted((root / "questions").glob("*.json")):
        if path.name.split(".")[0] in tested:
            report.left_out["diagrams of the published test split, with all their questions"] += 1
        else:
            yield _Diagram(path.name, has_letters)


def samples(item: _Diagram, settings: Settings, report: ConversionReport) -> Iterator[Sample]:
    """Yield the questions about a diagram."""
    path = settings.root / "questions" / item.file
    try:
        entries = _questions(path)
        if not entries:
            raise ValueError("holds no questions")
    except ValueError as error:
        report.skip(f"questions/{item.file}", str(error))
        return
    asked: dict[str, list[Question]] = {"images": [], "abc_images": []}
    for text, entry in entries.items():
        try:
            question = _question(text, entry)
        except ValueError as error:
            report.skip(f"questions/{item.file} {text!r}", str(error))
            continue
        if not entry.get("abcLabel"):
            asked["images"].append(question)
        elif item.has_letters:
            asked["abc_images"].append(question)
        else:
            report.left_out["questions about letters that only the pictures of abc_images show"] += 1
    for folder, questions in asked.items():
        if questions:
            image = f"{folder}/{item.file.removesuffix('.json')}"
            yield from question_samples(ImageQuestions(image, tuple(questions)), settings, report)


def _questions(path: Path) -> dict[str, Any]:
    content = read_json(path)
    questions = content.get("questions") if isinstance(content, dict) else None
    if not isinstance(questions, dict):
        raise ValueError(f"{path} has no 'questions'")
    return questions


def _question(text: str, entry: Any) -> Question:
    identity = text_of(entry, "questionId")
    choices = [text_of({"choice": choice}, "choice") for choice in entry.get("answerTexts") or []]
    correct = entry.get("correctAnswer")
    if type(correct) is not int or not 0 <= correct < len(choices) or choices.count(choices[correct]) > 1:
        raise ValueError(f"choice {correct!r} of {choices} is no single answer")
    question = _CHOICES.format(question=text_of({"question": text}, "question"), choices="; ".join(choices))
    return Question(f"train-{identity}", question, (choices[correct],), "multiple choice")


CONVERTERS = (Converter(MANIFEST, find_splits, items, samples),)
