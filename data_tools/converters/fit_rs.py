"""FIT-RS: instructions about 512 px patches of STAR's scene graphs, from captions to relations.

``FIT-RS-train-1415k.json`` or its published sample of 381k, LLaVA-style records about images of
``imgv2_split_512_100_vaild`` (so spelt); the large file wins where both are there. Its questions have no sure
token, so what boxes they and their answers hold decides:

- no boxes: captioning where the question asks to describe the image, else question answering;
- boxes only in the answer, all in one list at its end ("There are 2 ships in the image: ..."): grounding;
- one box, only in the question, which asks to describe what is there: region description;
- everything else (scene graphs, relations between marked objects, lists cut short) has no counterpart among
  the eight tasks and is left out, counted.

Two notations of boxes are known, and nobody says where which is used: centre, width, height and angle
(``<rbox>({<x><y><w><h>|<angle>})</rbox>``, as the authors' tools write it; also without the bar) and
GeoChat's corners (``{<x1><y1><x2><y2>|<angle>}``). Inside ``<rbox>`` or without a bar, the numbers are read
as centre and sides, and the upright hull is taken; a bare box with a bar is read as corners. ``--layout
centre`` or ``--layout corners`` says it for all boxes. A wrong reading shows: boxes come out reversed or
outside, and the conversion stops.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data_tools.angle_boxes import (
    AngleBox,
    PixelBox,
    find_boxes,
    from_centre,
    from_corners,
    without_boxes,
)
from data_tools.converter import Converter, Manifest, Sample, Settings
from data_tools.files import image_size
from data_tools.instructions import (
    MIXED,
    Dialogues,
    Exchange,
    dialogue_samples,
    dialogues_by_image,
    grounding_sample,
    kept_corners,
    number_of_questions,
    plain,
    region_samples,
    text_sample,
)
from data_tools.report import ConversionReport
from rsunivlm.data.records import resolve_image
from rsunivlm.tasks import Task

_PLACES = ("", "FIT-RS_Instruction/")
# The sample circulates under several endings.
_RECORDS = ("FIT-RS-train-1415k.json", "FIT-RS-train-sample*381k*.json")
_IMAGES = "imgv2_split_512_100_vaild"
_IMAGE_PLACES = ("", "FIT-RS_Img/", "FIT-RS_Image/", "FIT-RS_Instruction/", "FIT-RS_Instruction/FIT-RS_Img/")
_READINGS = ("", "centre", "corners")

MANIFEST = Manifest(
    name="fit_rs",
    title="FIT-RS",
    tasks=(Task.VG, Task.REG, Task.VQA, Task.CAP),
    source="https://huggingface.co/datasets/ll-13/FIT-RS",
    licence="CC BY-NC 4.0",
    layout="[FIT-RS_Instruction/]FIT-RS-train-{1415k,sampled-381k}.json imgv2_split_512_100_vaild/*.png",
    needs=(
        "FIT-RS-train-*.json|FIT-RS_Instruction/FIT-RS-train-*.json",
        "|".join(f"{place}{_IMAGES}" for place in _IMAGE_PLACES),
    ),
    folders=("FIT-RS", "FIT_RS", "fit_rs"),
    options=("layout",),
    notes="The paper uses 160k records, which ones is unknown: take them with `samples: 160000` in the "
    "mixture. The notation of the boxes is not documented; see the converter. Scene graphs and questions "
    "about relations between marked objects are left out.",
)
_NOTHING = "questions for boxes of what is not in the image"
_CUT_SHORT = "answers whose list of boxes is cut short"
_MARKED = "questions about marked objects that ask for no description"
_RBOX = re.compile(r"<rbox>\s*\((.*?)\)\s*</rbox>", re.DOTALL)
# An answer without its boxes, which are commas and brackets then.
_LIST_AT_END = re.compile(r"There (?:is|are) (\d+) [^<>]+:\s*(?:<rbox>\s*\([\s,]*\)\s*</rbox>|[\s,]*)\.?")
_BOX_TOKENS = frozenset({"detection", "grounding", "refer"})
# Asks what is at a place, not how that relates to something else.
_DESCRIBE = re.compile(
    r"(?!.*\brelat)(?:.*\b)?"
    r"(?:describe|description|caption|identify|what(?:'s| is) (?:in|at|inside|within))\b",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class _Item:
    """All dialogues about one image, and the name of the record file."""

    records: str
    image: str
    dialogues: Dialogues


def find_splits(root: Path) -> tuple[str, ...]:
    """Return "train", the only split."""
    _record_file(root)
    _image_folder(root)
    return ("train",)


def _record_file(root: Path) -> Path:
    for pattern in _RECORDS:
        for place in _PLACES:
            if found := sorted(root.glob(place + pattern)):
                return found[0]
    raise ValueError(f"{root} has no FIT-RS-train-*.json; expected layout: {MANIFEST.layout}")


def _image_folder(root: Path) -> str:
    for place in _IMAGE_PLACES:
        if (root / place / _IMAGES).is_dir():
            return place + _IMAGES
    raise ValueError(f"{root} has no {_IMAGES}; expected layout: {MANIFEST.layout}")


def items(split: str, settings: Settings, report: ConversionReport) -> Iterator[_Item]:
    """Yield every image with its dialogues.

    Raises:
        ValueError: the record file is malformed, or `layout` is unknown.
    """
    if settings.layout not in _READINGS:
        raise ValueError(f"--layout {settings.layout} is unknown; {MANIFEST.name} knows centre and corners")
    path, folder = _record_file(settings.root), _image_folder(settings.root)
    for image, dialogues in dialogues_by_image(path, report):
        yield _Item(path.name, f"{folder}/{image}", dialogues)


def samples(item: _Item, settings: Settings, report: ConversionReport) -> Iterator[Sample]:
    """Yield all questions about an image."""
    try:
        size = image_size(resolve_image(settings.root, item.image))
    except ValueError as error:
        report.skip(item.image, str(error), samples=number_of_questions(item.dialogues))
        return
    reader = _Reader(item.image, size, settings, report)
    for number, conversations in item.dialogues:
        yield from dialogue_samples(item.records, number, conversations, reader.read, report)


@dataclass(frozen=True)
class _Reader:
    """Reads the questions about one image."""

    image: str
    size: tuple[int, int]
    settings: Settings
    report: ConversionReport

    def read(self, name: str, exchange: Exchange) -> Iterator[Sample]:
        """The samples of one question, whose ids begin with `name`.

        Raises:
            ValueError: a box cannot be read, or the answer contradicts itself.
        """
        asked, answer = find_boxes(exchange.question), plain(exchange.answer)
        answered = find_boxes(answer)
        if not asked and not answered:
            if exchange.token in _BOX_TOKENS:
                self.report.left_out[_NOTHING] += 1
            else:
                yield text_sample(name, self.image, exchange.question, answer, "instruction")
        elif answered and not asked:
            yield from self._listed(name, exchange.question, answer, answered)
        elif len(asked) == 1 and not answered:
            yield from self._described(name, exchange.question, answer, asked)
        else:
            self.report.left_out[MIXED] += 1

    def _listed(self, name: str, question: str, answer: str, boxes: list[AngleBox]) -> Iterator[Sample]:
        if "context length" in answer:
            self.report.left_out[_CUT_SHORT] += 1
            return
        listed = _LIST_AT_END.fullmatch(without_boxes(answer))
        if not listed:
            self.report.left_out[MIXED] += 1
            return
        if int(listed[1]) != len(boxes):
            raise ValueError(f"answer {answer[:60]!r} lists {len(boxes)} boxes, not {listed[1]}")
        corners = self._corners(answer, boxes)
        yield grounding_sample(name, self.image, question, corners, self.size, self.settings, self.report)

    def _described(self, name: str, question: str, answer: str, boxes: list[AngleBox]) -> Iterator[Sample]:
        if not _DESCRIBE.match(question):
            self.report.left_out[_MARKED] += 1
            return
        (corners,) = self._corners(question, boxes)
        yield from region_samples(name, self.image, corners, answer, self.size, self.settings, self.report)

    def _corners(self, text: str, boxes: list[AngleBox]) -> list[list[float]]:
        inside = [match.span() for match in _RBOX.finditer(text)]
        found: list[PixelBox] = []
        for box in boxes:
            tagged = any(start < box.start < end for start, end in inside)
            centre = tagged or (box.angle is not None and not box.barred)
            if self.settings.layout:
                centre = self.settings.layout == "centre"
            if centre and box.angle is None:
                raise ValueError(f"box {list(box.numbers)} has no angle")
            found.append((from_centre if centre else from_corners)(box, self.size))
        return kept_corners(found, self.report)


CONVERTERS = (Converter(MANIFEST, find_splits, items, samples),)
