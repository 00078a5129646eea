"""What all sets of plain questions about images share: one item per image, one sample per question."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_tools.converter import Sample, Settings
from data_tools.files import image_size, stream_json
from data_tools.report import ConversionReport
from data_tools.scratch import grouped
from rsunivlm.data.records import resolve_image
from rsunivlm.tasks import Task


@dataclass(frozen=True)
class Question:
    """A question with its accepted answers; training takes the first."""

    id: str
    text: str
    answers: tuple[str, ...]
    type: str = ""


@dataclass(frozen=True)
class ImageQuestions:
    """The questions about one image."""

    image: str
    questions: tuple[Question, ...]


def read_questions(
    path: Path, prefix: str, parse: Callable[[int, Any], tuple[str, Question]], report: ConversionReport
) -> Iterator[ImageQuestions]:
    """Stream the questions of a JSON file, those about one image together.

    Args:
        path: the file.
        prefix: where its entries stand (see `data_tools.files.stream_json`).
        parse: turns the number of an entry and the entry into an image and a question; raises ValueError.
        report: gets the entries that cannot be parsed.

    Raises:
        ValueError: the file is missing, not valid JSON or cut short.
    """

    def parsed() -> Iterator[tuple[str, list[Any]]]:
        for number, entry in enumerate(stream_json(path, prefix)):
            try:
                image, question = parse(number, entry)
            except ValueError as error:
                report.skip(f"{path.name} entry {number}", str(error))
            else:
                yield image, [question.id, question.text, question.answers, question.type]

    for image, questions in grouped(parsed()):
        yield ImageQuestions(
            image,
            tuple(Question(name, text, tuple(answers), kind) for name, text, answers, kind in questions),
        )


def samples(item: ImageQuestions, settings: Settings, report: ConversionReport) -> Iterator[Sample]:
    """Yield the questions about an image; all accepted answers stand in the target."""
    try:
        image_size(resolve_image(settings.root, item.image))
    except ValueError as error:
        report.skip(item.image, str(error), samples=len(item.questions))
        return
    for question in item.questions:
        target: dict[str, Any] = {"answer": question.answers[0], "type": question.type}
        if len(question.answers) > 1:
            target["answers"] = list(question.answers)
        yield Sample(
            id=question.id,
            images=(item.image,),
            task=Task.VQA,
            slots={"question": question.text},
            answers=question.answers[:1],
            target=target,
        )


def text_of(entry: Any, field: str) -> str:
    """Return the text (or number) of a field without outer blanks.

    Raises:
        ValueError: the entry is no object, or the field is missing, empty or something else.
    """
    value = entry.get(field) if isinstance(entry, dict) else None
    text = str(value).strip() if isinstance(value, str | int | float) else ""
    if not text or isinstance(value, bool):
        raise ValueError(f"has no usable {field!r}: {value!r}")
    return text
