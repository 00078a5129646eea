r"""What the instruction sets share: LLaVA-style dialogues in, samples of our tasks out.

Their records are ``{"image": ..., "conversations": [{"from": "human", "value": "<image>\n[refer] ..."},
{"from": "gpt", "value": "..."}]}``, often with several turns. A question goes to the task that its token and
its structure name; it is never guessed from the answer's wording.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data_tools.angle_boxes import NoAreaError, PixelBox
from data_tools.converter import Sample, Settings
from data_tools.files import stream_json
from data_tools.report import ConversionReport
from data_tools.scratch import grouped
from rsunivlm.tasks import IMAGE_MARK, Task

CLAMPED = "clamped, not left out: boxes that reach beyond the frame"
NO_AREA = "boxes without area inside the frame"
TOO_SMALL = "box too small for the box codec: not in training, no REG"
MIXED = "text with boxes in it: no task answers like that"

_TOKEN = re.compile(r"\s*\[([A-Za-z]+)\]\s*")
_PHRASE = re.compile(r"<p>(.*?)</p>", re.DOTALL)
_TAGS = re.compile(r"</?(?:p|ref|rel)>")
# Asks for the whole picture ("describe this satellite image"), not for something in it.
_DESCRIBE_IMAGE = re.compile(
    r"\b(?:describe|summari[sz]e|caption|explain|(?:description|summary|overview|caption)\s+(?:of|for))\s+"
    r"(?:what\s+you\s+see|(?:the\s+)?(?:contents?|details)\s+of|"
    r"(?:(?:this|the|an?|given|provided|following|above|input|entire|whole|high|resolution|high-resolution|"
    r"remote|sensing|satellite|aerial|overhead)\s+)*(?:image|picture|photo(?:graph)?|scene)\b)",
    re.IGNORECASE,
)
_IN_DETAIL = re.compile(
    r"\b(?:detail\w*|thorough\w*|comprehensive\w*|elaborate\w*|paragraph)\b", re.IGNORECASE
)


@dataclass(frozen=True)
class Exchange:
    """A question with its answer.

    Attributes:
        token: the leading task token in lower case; "" for none.
        question: the rest of the question, without image mark and tags.
        phrase: what stands between ``<p>`` and ``</p>`` in the question; "" for nothing.
        answer: as published.
    """

    token: str
    question: str
    phrase: str
    answer: str


def exchanges(conversations: Any) -> list[Exchange]:
    """Check the turns of a record and pair them.

    Raises:
        ValueError: there are none, they do not alternate, or one is empty.
    """
    if not isinstance(conversations, list) or not conversations or len(conversations) % 2:
        raise ValueError("'conversations' is no list of questions with answers")
    texts = []
    for number, turn in enumerate(conversations):
        side = ("human", "gpt")[number % 2]
        value = turn.get("value") if isinstance(turn, dict) and turn.get("from") == side else None
        text = value.replace(IMAGE_MARK, " ").strip() if isinstance(value, str) else ""
        if not text:
            raise ValueError(f"turn {number} is not a text from {side!r}")
        texts.append(text)
    return [_exchange(question, answer) for question, answer in zip(texts[::2], texts[1::2], strict=True)]


def _exchange(text: str, answer: str) -> Exchange:
    token = _TOKEN.match(text)
    question = plain(text[token.end() :] if token else text)
    if not question:
        raise ValueError(f"question {text!r} is only a token")
    phrase = _PHRASE.search(text)
    return Exchange(token[1].lower() if token else "", question, plain(phrase[1]) if phrase else "", answer)


Dialogues = tuple[tuple[int, Any], ...]
"""The records about one image: each one's place in its file and its `conversations`, unchecked."""


def dialogues_by_image(path: Path, report: ConversionReport) -> Iterator[tuple[str, Dialogues]]:
    """Stream a list of records and gather those about the same image.

    Yields:
        The image as the records name it, and its dialogues in file order.

    Raises:
        ValueError: the file is missing, malformed or cut short.
    """
    for image, dialogues in grouped(_dialogues(path, report)):
        yield image, tuple((number, conversations) for number, conversations in dialogues)


def _dialogues(path: Path, report: ConversionReport) -> Iterator[tuple[str, tuple[int, Any]]]:
    for number, record in enumerate(stream_json(path, "item")):
        image = record.get("image") if isinstance(record, dict) else None
        if isinstance(image, str) and image:
            yield image, (number, record.get("conversations"))
        else:
            report.skip(f"{path.name} record {number}", "names no image")


def number_of_questions(dialogues: Dialogues) -> int:
    """How many questions some records ask, for counting those that are lost with them; 1 each at least."""
    return sum(
        max(1, len(conversations) // 2) if isinstance(conversations, list) else 1
        for _, conversations in dialogues
    )


def dialogue_samples(
    file: str,
    number: int,
    conversations: Any,
    read: Callable[[str, Exchange], Iterable[Sample]],
    report: ConversionReport,
) -> list[Sample]:
    """All samples of a record; what cannot be read goes to the report.

    One sequence runs through one expert, so a dialogue that changes the task is split into one conversation
    per task. A question alone in its task stays free to be joined with others about the image.

    Args:
        file: name of the record file.
        number: place of the record in it.
        conversations: its turns, unchecked.
        read: turns a question into samples with ids that begin with the given name; a ValueError counts the
            question as bad, a `NoAreaError` leaves it out.
        report: of the conversion.
    """
    where = f"{file} record {number}"
    try:
        turns = exchanges(conversations)
    except ValueError as error:
        report.skip(where, str(error), samples=number_of_questions(((number, conversations),)))
        return []
    found: list[Sample] = []
    for turn, exchange in enumerate(turns):
        try:
            found += list(read(f"train-{number}-{turn}", exchange))  # all of a question or nothing
        except NoAreaError:
            report.left_out[NO_AREA] += 1
        except ValueError as error:
            report.skip(f"{where} question {turn}", str(error))
    together = Counter(sample.task for sample in found) if len(turns) > 1 else Counter()
    return [
        replace(sample, conversation=f"{number}-{sample.task}") if together[sample.task] > 1 else sample
        for sample in found
    ]


def plain(text: str) -> str:
    """The text without phrase tags (``<p>``, ``<ref>``, ``<rel>``), spare blanks and empty lines."""
    lines = (" ".join(line.split()) for line in _TAGS.sub("", text).splitlines())
    return "\n".join(line for line in lines if line)


def asks_for_caption(question: str) -> bool:
    """Whether a question asks to describe the whole image, and not in detail.

    The prompts of captioning want one sentence; a question that wants more keeps its own words.
    """
    return _DESCRIBE_IMAGE.search(question) is not None and _IN_DETAIL.search(question) is None


def text_sample(name: str, image: str, question: str, answer: str, kind: str) -> Sample:
    """A question that is answered in words: captioning or, with `kind` as its type, question answering."""
    if asks_for_caption(question):
        return Sample(name, (image,), Task.CAP, {}, (answer,), {"references": [answer]})
    target = {"answer": answer, "type": kind}
    return Sample(name, (image,), Task.VQA, {"question": question}, (answer,), target)


def kept_corners(boxes: Iterable[PixelBox], report: ConversionReport) -> list[list[float]]:
    """The corners of boxes, those that were clamped being counted."""
    found = list(boxes)
    if clamped := sum(box.clamped for box in found):
        report.left_out[CLAMPED] += clamped
    return [list(box.corners) for box in found]


def grounding_sample(
    name: str,
    image: str,
    expression: str,
    corners: Sequence[Sequence[float]],
    size: tuple[int, int],
    settings: Settings,
    report: ConversionReport,
) -> Sample:
    """A grounding question about one or several boxes in pixels.

    Boxes that vanish on the codec's scale cannot be taught, but a score has to count them: the sample is then
    kept out of training.
    """
    text, written = settings.boxes.encode_with_report(corners, size)
    if written.dropped:
        report.left_out[TOO_SMALL] += 1
        text = replace(settings.boxes, decimals=6).encode(corners, size)
    return Sample(
        name,
        (image,),
        Task.VG,
        {"expression": expression},
        (text,),
        {"boxes_px": [list(box) for box in corners], "image_size": list(size)},
        training=not written.dropped,
    )


def region_samples(
    name: str,
    image: str,
    corners: Sequence[float],
    description: str,
    size: tuple[int, int],
    settings: Settings,
    report: ConversionReport,
) -> Iterator[Sample]:
    """A question what is at a box in pixels; none where the box vanishes on the codec's scale."""
    text = settings.boxes.encode([corners], size)
    if not text:
        report.left_out[TOO_SMALL] += 1
        return
    yield Sample(
        name,
        (image,),
        Task.REG,
        {"box": text},
        (description,),
        {"box_px": list(corners), "references": [description], "image_size": list(size)},
    )
