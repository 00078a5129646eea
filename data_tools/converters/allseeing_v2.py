"""AllSeeing-V2 (AS-V2): dialogues and descriptions of general images in which every thing has its box.

Three files of LLaVA-style records: conversations, detailed descriptions and region captions. Texts look like
``<ref>man</ref><box>[[1, 199, 332, 961]]</box> <pred>holding</pred><box>[[...]]</box><box>[[...]]</box>``:
a thing is followed by its box or boxes, a relation by those of its subject and its object.

Boxes are integers on a scale whose far edge is 999, measured on the picture *after padding it to a square*
(the shorter side centred). The padding is undone with the size of the image. The same annotations exist
without it (``*_wo_square_pad.json``); those are preferred where they are there, as nothing has to be undone.

In our records a thing stands with its boxes in the project's own notation; tags go, words stay. A relation
keeps its words only: its boxes are those of things that the sentence has already pointed at. Questions stay
as asked, under ``[VQA]``, also when the answer holds boxes (the paper calls the set "grounding VQA"): the
answer to ``[VG]`` is nothing but boxes, and must stay so. A region caption, asked for with exactly one box,
is the task ``[REF]``: its answer is the words without boxes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data_tools.converter import Converter, Manifest, Sample, Settings
from data_tools.expressions import Box
from data_tools.files import stream_json
from data_tools.image_sets import size_in_set
from data_tools.report import ConversionReport
from rsunivlm.data.records import Record
from rsunivlm.tasks import Task

MANIFEST = Manifest(
    name="allseeing_v2",
    title="AllSeeing-V2",
    tasks=(Task.VQA, Task.REG),
    source="https://huggingface.co/datasets/OpenGVLab/AS-V2",
    licence="Apache-2.0 as stated on the dataset's page; the images have terms of their own",
    layout="rec_{conversation,detailed_description,region_captioning}*[_wo_square_pad].json "
    "coco/train2017/*.jpg",
    needs=(
        "rec_conversation*.json",
        "rec_detailed_description*.json",
        "rec_region_captioning*.json",
        "coco/*",
    ),
    folders=("AS-V2", "AllSeeing-V2", "as_v2"),
    notes="Grounded answers keep their boxes, under [VQA]; region captions become [REF]. The paper's 200k "
    "samples are more than AS-V2 itself (127k) and are not published as a list.",
)
_KINDS = ("conversation", "detailed_description", "region_captioning")
_UNPADDED = "_wo_square_pad"
_SCALE = 999

_BOX_GROUP = re.compile(r"<box>([^<]*)</box>")
# The closing tag may be the wrong one: a slip that occurs in the annotations.
_RELATION = re.compile(r"<pred>([^<]*)</(?:pred|ref)>(?:\s*<box>[^<]*</box>)*")
_TAG = re.compile(r"</?(?:ref|pred)>")
_REMAINS = re.compile(r"</?box>|\[\s*\[|\[\s*\d+\s*,")
_BLANKS = re.compile(r"[ \t]+")


@dataclass(frozen=True)
class _Item:
    """An entry of one of the files, unchecked."""

    file: str
    kind: str
    number: int
    entry: Any


@dataclass(frozen=True)
class _Text:
    """A question or an answer.

    `words` alone, `grounded` with boxes in our notation, those boxes in pixels, and how many more there were
    that vanish on the box codec's scale.
    """

    words: str
    grounded: str
    boxes: tuple[Box, ...]
    vanished: int


def find_splits(root: Path) -> tuple[str, ...]:
    """Return the one split there is.

    Raises:
        ValueError: none of the files is there, or one in several versions.
    """
    if not _files(root):
        raise ValueError(f"{root} has no rec_*.json; expected layout: {MANIFEST.layout}")
    return ("train",)


def items(split: str, settings: Settings, report: ConversionReport) -> Iterator[_Item]:
    """Yield every entry of the files that are there."""
    files = _files(settings.root)
    for kind in _KINDS:
        if kind not in files:
            report.warn(f"rec_{kind}*.json is missing")
            continue
        for number, entry in enumerate(stream_json(files[kind], "item")):
            yield _Item(files[kind].name, kind, number, entry)


def samples(item: _Item, settings: Settings, report: ConversionReport) -> Iterator[Sample]:
    """Yield the questions of a record, as one dialogue."""
    try:
        record = Record.from_json(item.entry)
        (image,) = record.images
        size = size_in_set(settings.root, image, len(record.turns), report)
        if size is None:
            return
        padded = _UNPADDED not in item.file
        turns = [
            tuple(_read_text(text, size, padded, settings) for text in (turn.prompt, turn.answer))
            for turn in record.turns
        ]
    except ValueError as error:
        report.skip(f"{item.file} entry {item.number}", str(error))
        return
    name = f"train-{item.kind.replace('_', '-')}-{item.number}"
    for number, (question, answer) in enumerate(turns):
        turn_name = f"{name}-{number}" if number else name
        if question.vanished:
            report.left_out["questions about boxes that vanish on the box codec's scale"] += 1
            continue
        if item.kind == "region_captioning" and len(question.boxes) == 1:
            sample = _region_sample(turn_name, image, size, question.boxes[0], answer.words, settings)
        else:
            sample = Sample(
                id=turn_name,
                images=(image,),
                task=Task.VQA,
                slots={"question": question.grounded},
                answers=(answer.grounded,),
                target={"answer": answer.grounded, "type": item.kind.replace("_", " ")},
            )
        yield replace(sample, conversation=f"{name}-{sample.task}") if len(turns) > 1 else sample


def _files(root: Path) -> dict[str, Path]:
    """The file of each kind; the version without padding where both are there."""
    found = {}
    for kind in _KINDS:
        paths = sorted(root.glob(f"rec_{kind}*.json"))
        unpadded = [path for path in paths if path.stem.endswith(_UNPADDED)]
        chosen = unpadded or paths
        if len(chosen) > 1:
            raise ValueError(f"{root} holds {chosen[0].name} and {chosen[1].name}; keep one of them there")
        if chosen:
            found[kind] = chosen[0]
    return found


def _region_sample(
    name: str, image: str, size: tuple[int, int], box: Box, caption: str, settings: Settings
) -> Sample:
    return Sample(
        id=name,
        images=(image,),
        task=Task.REG,
        slots={"box": settings.boxes.encode([box], size)},
        answers=(caption,),
        target={"box_px": list(box), "references": [caption], "image_size": list(size)},
    )


def _read_text(text: str, size: tuple[int, int], padded: bool, settings: Settings) -> _Text:
    """Translate a text; a thing whose boxes all vanish is named only.

    Raises:
        ValueError: it holds a box that cannot be read, or nothing but tags.
    """
    boxes: list[Box] = []
    written: list[Box] = []

    def write(match: re.Match[str]) -> str:
        found = list(_read_boxes(match[1], size, padded))
        kept = [box for box in found if settings.boxes.encode([box], size)]
        boxes.extend(found)
        written.extend(kept)
        return f" {settings.boxes.encode(kept, size)}" if kept else ""

    text = _TAG.sub("", _RELATION.sub(r"\1", text))
    words = _BLANKS.sub(" ", _BOX_GROUP.sub("", text)).strip()
    grounded = _BLANKS.sub(" ", _BOX_GROUP.sub(write, text)).strip()
    if not words:
        raise ValueError(f"{text[:60]!r} has no words")
    if rest := _REMAINS.search(words):
        raise ValueError(f"{text[:60]!r} has {rest[0]!r} where no box can be read")
    return _Text(words, grounded, tuple(written), len(boxes) - len(written))


def _read_boxes(text: str, size: tuple[int, int], padded: bool) -> Iterator[Box]:
    """Read ``[[x1, y1, x2, y2], ...]`` as corners in pixels, cut at the image's frame."""
    try:
        boxes = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"box {text!r} is not valid JSON") from error
    if not isinstance(boxes, list):
        raise ValueError(f"box {text!r} is no list of boxes")
    width, height = size
    side = max(size)
    scale_x, scale_y = (side, side) if padded else size
    left, top = ((side - width) // 2, (side - height) // 2) if padded else (0, 0)
    for box in boxes:
        if not isinstance(box, list) or len(box) != 4 or not all(type(value) is int for value in box):
            raise ValueError(f"box {box!r} is not made of four whole numbers")
        x1, y1, x2, y2 = box
        if not (0 <= x1 <= x2 <= _SCALE and 0 <= y1 <= y2 <= _SCALE):
            raise ValueError(f"box {box} is reversed or outside 0..{_SCALE}")
        # What reaches into the padding does so by rounding.
        xs = (min(max(value * scale_x / _SCALE - left, 0.0), float(width)) for value in (x1, x2))
        ys = (min(max(value * scale_y / _SCALE - top, 0.0), float(height)) for value in (y1, y2))
        (x1, x2), (y1, y2) = xs, ys
        yield x1, y1, x2, y2


CONVERTERS = (Converter(MANIFEST, find_splits, items, samples),)
