"""GeoChat-Instruct: dialogues about images of DOTA, DIOR, FAIR1M, FloodNet, NWPU-RESISC45 and RSVQA-LR.

One large JSON list of LLaVA-style records, several per image. What a question asks is said by its token:

- ``[refer]`` is answered with boxes: grounding, one question for all of them;
- ``[grounding]`` is answered with a description that puts boxes behind its phrases (``<p>two ships</p>
  {...}``): one grounding question per phrase, unless a phrase stands there twice and so points at nothing
  certain;
- ``[identify]`` asks about one box: region description;
- no token: classification where it lists classes, captioning where it asks to describe the image, else
  question answering.

Boxes are ``{<x1><y1><x2><y2>|<angle>}`` on 0..100. *The four numbers are read as the upright box, in answers
and in prompts; the angle is not applied.* The publication calls them the top left and the bottom right
corner, its demo draws a referred box upright, and the authors of FIT-RS write a turned box in this notation
by its upright hull; upright objects have the angle 90, so that turning would swap width and height of their
boxes. Other readers do turn them: ``--layout turned`` takes the hull of the rectangle turned about its
centre. Boxes that reach beyond the frame are clamped; angles above 360 do not matter.

The RSVQA-LR part repeats `rsvqa_lr`, the NWPU part holds NWPU's test images, and the images of GeoChat-Bench
lie in the same archive: these stay out of training unless ``--include-overlap`` asks for them.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from data_tools.angle_boxes import (
    AngleBox,
    NoAreaError,
    PixelBox,
    find_boxes,
    from_centre,
    from_corners,
    without_boxes,
)
from data_tools.converter import Converter, Manifest, Sample, Settings
from data_tools.files import image_size
from data_tools.identity import origin
from data_tools.instructions import (
    MIXED,
    NO_AREA,
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

_RECORDS = "GeoChat_Instruct.json"
_IMAGES = "final_images_llava"
# Where the archive's parts put the images, depending on how far a user moved them up.
_PREFIXES = ("", "images", "share/softwares/kartik/GeoChat_finetuning")
_FOLDERS = tuple(str(PurePosixPath(prefix) / _IMAGES) for prefix in (*_PREFIXES, f"images/{_PREFIXES[2]}"))

MANIFEST = Manifest(
    name="geochat_instruct",
    title="GeoChat-Instruct",
    tasks=(Task.VG, Task.REG, Task.VQA, Task.CAP, Task.SC),
    source="https://huggingface.co/datasets/MBZUAI/GeoChat_Instruct",
    licence="Apache-2.0 by its tag; the images keep the terms of their own datasets",
    layout="GeoChat_Instruct.json final_images_llava/ (from images_parta{a,b,c}) [GeoChat-Bench/*.jsonl]",
    needs=("GeoChat_Instruct.json", "|".join(_FOLDERS)),
    folders=("GeoChat_Instruct", "GeoChat-Instruct", "geochat_instruct"),
    options=("include_overlap", "layout"),
    notes="The paper's 216k of 309-318k records are plausibly those without the RSVQA-LR and NWPU parts, "
    "which are left out here. More than 100k images are reported not to match the file: raise --max-bad if "
    "so. Some images are in DIOR-RSVG's test split; mixtures leave them out by name.",
)
_SUFFIXES = (".png", ".tif", ".jpg", ".JPG", ".jpeg")
_BENCHES = ("referring.jsonl", "region_captioning.jsonl")
_TURNED = "turned"

_RSVQA = "RSVQA-LR part, whose questions come from rsvqa_lr (--include-overlap takes it)"
_NWPU = "NWPU-RESISC45 part, which holds test images (--include-overlap takes it)"
_BENCH = "image of GeoChat-Bench (--include-overlap takes it)"
_TWICE = "phrases of a grounded description that stand there twice"
_UNGROUNDED = "grounded descriptions without boxes"

_LR_FOLDER = re.compile(r"(?:^|/)(?:lrben|rsvqa[-_]?lr|images[-_]lr)[^/]*/", re.IGNORECASE)
# Asked about each image of RSVQA-LR and about no other.
_LR_QUESTION = "is it a rural or an urban area"
_CLASSES = re.compile(
    r"Classify the given image in one of the following classes\.\s*Classes:\s*(.+?)\.?\s*"
    r"(?:Answer in one word or a short phrase\.?)?",
    re.IGNORECASE,
)
_LABEL = re.compile(r"<p>[^<>]*</p>")
_GROUNDED = re.compile(r"<p>([^<>]*)</p>\s*((?:\{[^{}]*\}\s*(?:<delim>)?\s*)+)")


@dataclass(frozen=True)
class _Item:
    """All dialogues about one image; `benched`: it is in GeoChat-Bench."""

    image: str
    folder: str
    dialogues: Dialogues
    benched: bool


def find_splits(root: Path) -> tuple[str, ...]:
    """Return "train", the only split."""
    _image_folder(root)
    return ("train",)


def _image_folder(root: Path) -> str:
    for folder in _FOLDERS:
        if (root / folder).is_dir() and (root / _RECORDS).is_file():
            return folder
    raise ValueError(f"{root} has no {_RECORDS} with {_IMAGES}; expected layout: {MANIFEST.layout}")


def items(split: str, settings: Settings, report: ConversionReport) -> Iterator[_Item]:
    """Yield every image with its dialogues.

    Raises:
        ValueError: the record file or a file of GeoChat-Bench is malformed, or `layout` is unknown.
    """
    if settings.layout not in ("", _TURNED):
        raise ValueError(f"--layout {settings.layout} is unknown; {MANIFEST.name} knows {_TURNED!r}")
    folder = _image_folder(settings.root)
    benched = _bench_images(settings.root, report)
    for image, dialogues in dialogues_by_image(settings.root / _RECORDS, report):
        yield _Item(image, folder, dialogues, PurePosixPath(image).stem in benched)


def _bench_images(root: Path, report: ConversionReport) -> frozenset[str]:
    """Stems of the images of GeoChat-Bench, where its files are there."""
    paths = [
        path for name in _BENCHES for path in (root / name, root / "GeoChat-Bench" / name) if path.is_file()
    ]
    if not paths:
        report.warn("GeoChat-Bench/*.jsonl is not there: its images cannot be told and may be in training")
    stems = set()
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                stems.add(PurePosixPath(json.loads(line)["image_id"]).stem)
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError(f"{path} line {number} names no 'image_id'; download it again") from error
    return frozenset(stems)


def samples(item: _Item, settings: Settings, report: ConversionReport) -> Iterator[Sample]:
    """Yield all questions about an image."""
    asked = number_of_questions(item.dialogues)
    if not settings.include_overlap and (reason := _overlap(item)):
        report.left_out[reason] += asked
        return
    try:
        image = _as_on_disk(settings.root, f"{item.folder}/{item.image}")
        size = image_size(resolve_image(settings.root, image))
    except ValueError as error:
        report.skip(item.image, str(error), samples=asked)
        return
    reader = _Reader(image, size, settings, report)
    for number, conversations in item.dialogues:
        yield from dialogue_samples(_RECORDS, number, conversations, reader.read, report)


def _overlap(item: _Item) -> str:
    if _LR_FOLDER.search(item.image) or any(
        _LR_QUESTION in str(turns).lower() for _, turns in item.dialogues
    ):
        return _RSVQA
    if origin("nwpu_resisc45", item.image):
        return _NWPU
    return _BENCH if item.benched else ""


def _as_on_disk(root: Path, image: str) -> str:
    """The path of an image; some are published under another suffix than the file names."""
    path = PurePosixPath(image)
    for candidate in (path, *(path.with_suffix(suffix) for suffix in _SUFFIXES)):
        if resolve_image(root, str(candidate)).is_file():
            return str(candidate)
    return image


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
            ValueError: question or answer is not as its token says.
        """
        readers = {
            "refer": self._referred,
            "grounding": self._grounded,
            "identify": self._identified,
            "": self._asked,
        }
        if exchange.token not in readers:
            raise ValueError(f"token {exchange.token!r} is unknown")
        return readers[exchange.token](name, exchange)

    def _referred(self, name: str, exchange: Exchange) -> Iterator[Sample]:
        expression = exchange.phrase or exchange.question
        boxes = find_boxes(exchange.answer)
        if not boxes or _LABEL.sub("", without_boxes(exchange.answer)).strip(" ,"):
            raise ValueError(f"answer {exchange.answer[:80]!r} is not made of boxes")
        if find_boxes(expression):
            raise ValueError(f"the expression {expression!r} holds a box")
        yield self._grounding(name, expression, boxes)

    def _grounded(self, name: str, exchange: Exchange) -> Iterator[Sample]:
        number = len(find_boxes(exchange.answer))
        phrases = [(plain(phrase), find_boxes(text)) for phrase, text in _GROUNDED.findall(exchange.answer)]
        if sum(len(boxes) for _, boxes in phrases) != number or not all(phrase for phrase, _ in phrases):
            raise ValueError(f"answer {exchange.answer[:80]!r} has boxes without a phrase")
        if not phrases:
            self.report.left_out[_UNGROUNDED] += 1
        times = Counter(phrase.lower() for phrase, _ in phrases)
        for place, (phrase, boxes) in enumerate(phrases):
            if times[phrase.lower()] > 1:
                self.report.left_out[_TWICE] += 1
                continue
            try:
                yield self._grounding(f"{name}-{place}", phrase, boxes)
            except NoAreaError:
                self.report.left_out[NO_AREA] += 1

    def _identified(self, name: str, exchange: Exchange) -> Iterator[Sample]:
        boxes = find_boxes(exchange.question)
        if len(boxes) != 1:
            raise ValueError(f"question {exchange.question!r} must hold one box, not {len(boxes)}")
        if find_boxes(exchange.answer):
            self.report.left_out[MIXED] += 1
            return
        (corners,) = self._corners(boxes)
        description = plain(exchange.answer)
        yield from region_samples(
            name, self.image, corners, description, self.size, self.settings, self.report
        )

    def _asked(self, name: str, exchange: Exchange) -> Iterator[Sample]:
        if find_boxes(exchange.question) or find_boxes(exchange.answer):
            self.report.left_out[MIXED] += 1
        elif listed := _CLASSES.fullmatch(exchange.question):
            yield self._classified(name, listed[1], exchange.answer)
        else:
            yield text_sample(name, self.image, exchange.question, plain(exchange.answer), "instruction")

    def _classified(self, name: str, listed: str, answer: str) -> Sample:
        classes = [label.strip() for label in listed.split(",")]
        label = answer.strip().removesuffix(".")
        if label not in classes:
            raise ValueError(f"answer {answer!r} is none of the classes in the question")
        slots = {"classes": ", ".join(classes)}
        target = {"label": label, "classes": classes}
        return Sample(name, (self.image,), Task.SC, slots, (label,), target)

    def _grounding(self, name: str, expression: str, boxes: list[AngleBox]) -> Sample:
        corners = self._corners(boxes)
        return grounding_sample(name, self.image, expression, corners, self.size, self.settings, self.report)

    def _corners(self, boxes: list[AngleBox]) -> list[list[float]]:
        return kept_corners([self._box(box) for box in boxes], self.report)

    def _box(self, box: AngleBox) -> PixelBox:
        if self.settings.layout != _TURNED:
            return from_corners(box, self.size)
        from_corners(box, self.size)  # reversed corners are a slip under this reading as well
        x1, y1, x2, y2 = box.numbers
        centre = ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)
        return from_centre(replace(box, numbers=centre), self.size)


CONVERTERS = (Converter(MANIFEST, find_splits, items, samples),)
