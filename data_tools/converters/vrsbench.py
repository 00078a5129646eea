"""VRSBench: captions, referring expressions and questions about 512 px patches of DOTA and DIOR images.

Training comes from ``VRSBench_train.json``, dialogues of one turn that open with ``[caption]``, ``[refer]``
or ``[vqa]``. Around the questions the file has half a dozen phrases ("... A short answer to the question
is"); they are taken off, because the benchmark asks the bare question. Evaluation comes from the three
``EVAL`` files, whose images are the published validation images; here they are the split ``test``, for
nothing trains on them.

Boxes are ``{<x1><y1><x2><y2>}`` on 0..100. About a quarter of the training boxes reach beyond the frame (down
to -73, up to 196): they are clamped, and dropped where nothing is left. A few true boxes of the evaluation
have no area on the whole-numbered scale; theirs are taken from the object's corners in the same record.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data_tools.angle_boxes import NoAreaError, find_boxes, from_corners, without_boxes
from data_tools.converter import Converter, Manifest, Sample, Settings
from data_tools.files import image_size, stream_json
from data_tools.instructions import (
    NO_AREA,
    exchanges,
    grounding_sample,
    kept_corners,
)
from data_tools.questions import text_of
from data_tools.report import ConversionReport
from data_tools.scratch import grouped
from rsunivlm.data.records import resolve_image
from rsunivlm.tasks import Task

MANIFEST = Manifest(
    name="vrsbench",
    title="VRSBench",
    tasks=(Task.CAP, Task.VG, Task.VQA),
    source="https://huggingface.co/datasets/xiang709/VRSBench",
    licence="annotations CC-BY-4.0; DOTA images for academic use only, DIOR images without stated terms",
    layout="Images_{train,val}/*.png VRSBench_train.json VRSBench_EVAL_{referring,vqa,Cap}.json",
    needs=("Images_train/*", "Images_val/*", "VRSBench_train.json", "VRSBench_EVAL_*.json"),
    folders=("VRSBench", "vrsbench"),
    counts={"train": 36_313, "test": 16_159},
    counted_task=Task.VG,
    notes="Training: 142,390 = 20,264 captions + 36,313 expressions + 85,813 questions; test: 9,350 + 16,159 "
    "+ 37,409. The test images are the published validation images. No REG: neither the paper's 141k nor the "
    "benchmark has it. Patches come from DIOR and DOTA images, some of which are in DIOR-RSVG's test split.",
)
_TRAIN = "VRSBench_train.json"
_TESTS = {
    Task.VG: "VRSBench_EVAL_referring.json",
    Task.VQA: "VRSBench_EVAL_vqa.json",
    Task.CAP: "VRSBench_EVAL_Cap.json",
}
_IMAGES = {"train": "Images_train", "test": "Images_val"}
_TASKS = {"caption": Task.CAP, "refer": Task.VG, "vqa": Task.VQA}
_FROM_CORNERS = "taken from 'obj_corner', not left out: true boxes without area on the scale 0..100"

# Phrases around a question; a few thousand records have only the first or only the second half of a pair.
_BEFORE = re.compile(
    r"Based on the image, respond to this question with a short answer:|"
    r"Use the provided image to answer the question:|"
    r"Given the image, answer the following question with no more than three words\.|"
    r"The question (?=.+ can be answered using the image)|Question:|Q:",
    re.IGNORECASE,
)
_AFTER = re.compile(
    r"(?:can be answered using the image\.\s*A short answer is|\.?\s*A short answer to the question is|"
    r"Provide your answer as short as possible\.?|Short answer:|A:)\s*\Z",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class _Item:
    """All records about one image: the file each comes from, its number there, and itself."""

    image: str
    records: tuple[tuple[str, int, Any], ...]


def find_splits(root: Path) -> tuple[str, ...]:
    """Return "train" and "test" where their images and at least one of their annotation files are."""
    files = {"train": [_TRAIN], "test": list(_TESTS.values())}
    found = tuple(
        split
        for split, names in files.items()
        if (root / _IMAGES[split]).is_dir() and any((root / name).is_file() for name in names)
    )
    if not found:
        raise ValueError(f"{root} holds no VRSBench; expected layout: {MANIFEST.layout}")
    return found


def items(split: str, settings: Settings, report: ConversionReport) -> Iterator[_Item]:
    """Yield every image of a split with all that is asked about it.

    Raises:
        ValueError: an annotation file is malformed.
    """
    names = [_TRAIN] if split == "train" else list(_TESTS.values())
    present = [name for name in names if (settings.root / name).is_file()]
    for name in sorted({*names} - {*present}):
        report.warn(f"{name} is missing: its questions are not converted")
    folder = _IMAGES[split]
    if (settings.root / folder / folder).is_dir():  # some of the archives nest one folder more
        folder = f"{folder}/{folder}"
    for image, records in grouped(_records(settings.root, present, report)):
        yield _Item(f"{folder}/{image}", tuple((file, number, record) for file, number, record in records))


def _records(
    root: Path, names: list[str], report: ConversionReport
) -> Iterator[tuple[str, tuple[str, int, Any]]]:
    for name in names:
        key = "image" if name == _TRAIN else "image_id"
        for number, record in enumerate(stream_json(root / name, "item")):
            image = record.get(key) if isinstance(record, dict) else None
            if isinstance(image, str) and image:
                yield image, (name, number, record)
            else:
                report.skip(f"{name} record {number}", f"names no image ({key!r})")


def samples(item: _Item, settings: Settings, report: ConversionReport) -> Iterator[Sample]:
    """Yield all samples about an image."""
    try:
        size = image_size(resolve_image(settings.root, item.image))
    except ValueError as error:
        report.skip(item.image, str(error), samples=len(item.records))
        return
    read = _train_sample if item.records[0][0] == _TRAIN else _test_sample
    for file, number, record in item.records:
        try:
            yield read(file, number, record, item.image, size, settings, report)
        except NoAreaError:
            report.left_out[NO_AREA] += 1
        except ValueError as error:
            report.skip(f"{file} record {number}", str(error))


def _train_sample(
    file: str,
    number: int,
    record: dict[str, Any],
    image: str,
    size: tuple[int, int],
    settings: Settings,
    report: ConversionReport,
) -> Sample:
    name, found = f"train-{number}", exchanges(record.get("conversations"))
    if len(found) != 1:
        raise ValueError(f"asks {len(found)} questions, not one")
    exchange = found[0]
    task = _TASKS.get(exchange.token)
    if task is None:
        raise ValueError(f"token {exchange.token!r} is none of {', '.join(_TASKS)}")
    if task is Task.CAP:
        return _caption(name, image, exchange.answer)
    if task is Task.VQA:
        return _question(name, image, bare_question(exchange.question), exchange.answer, "")
    if not exchange.phrase:
        raise ValueError(f"{exchange.question!r} has no expression between <p> and </p>")
    corners = _corners(exchange.answer, size, report)
    return grounding_sample(name, image, exchange.phrase, [corners], size, settings, report)


def _test_sample(
    file: str,
    number: int,
    record: dict[str, Any],
    image: str,
    size: tuple[int, int],
    settings: Settings,
    report: ConversionReport,
) -> Sample:
    truth = text_of(record, "ground_truth")
    if file == _TESTS[Task.CAP]:
        return _caption(f"test-cap-{number}", image, truth)
    question = text_of(record, "question")
    if file == _TESTS[Task.VQA]:
        return _question(f"test-vqa-{number}", image, question, truth, text_of(record, "type"))
    try:
        corners = _corners(truth, size, report)
    except NoAreaError:
        corners = _hull(record.get("obj_corner"), size)
        report.left_out[_FROM_CORNERS] += 1
    sample = grounding_sample(f"test-ref-{number}", image, question, [corners], size, settings, report)
    subsets = {key: record[key] for key in ("unique", "size_group") if key in record}
    return replace(sample, target=sample.target | subsets)


def bare_question(text: str) -> str:
    """Take the phrases off that the training file puts around its questions."""
    before = _BEFORE.match(text)
    bare = _AFTER.sub("", text[before.end() :] if before else text).strip()
    return (bare.removesuffix(".") if bare.endswith("?.") else bare) or text


def _caption(name: str, image: str, caption: str) -> Sample:
    return Sample(name, (image,), Task.CAP, {}, (caption,), {"references": [caption]})


def _question(name: str, image: str, question: str, answer: str, kind: str) -> Sample:
    target = {"answer": answer, "type": kind}
    return Sample(name, (image,), Task.VQA, {"question": question}, (answer,), target)


def _corners(text: str, size: tuple[int, int], report: ConversionReport) -> list[float]:
    boxes = find_boxes(text)
    if len(boxes) != 1 or boxes[0].angle is not None or without_boxes(text):
        raise ValueError(f"{text!r} is not one box of four numbers")
    (corners,) = kept_corners([from_corners(boxes[0], size)], report)
    return corners


def _hull(corner: Any, size: tuple[int, int]) -> list[float]:
    """The upright box around four corners given as shares of the image's sides, within the frame."""
    numbers = corner if isinstance(corner, list) and len(corner) == 8 else [math.nan]
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in numbers):
        raise ValueError(f"true box has no area, and 'obj_corner' is not made of eight numbers: {corner!r}")
    sides = []
    for side, values in zip(size, (numbers[::2], numbers[1::2]), strict=True):
        sides.append([min(max(edge(values), 0.0), 1.0) * side for edge in (min, max)])
    (x1, x2), (y1, y2) = sides
    if x2 <= x1 or y2 <= y1:
        raise ValueError(f"true box and 'obj_corner' have no area: {corner!r}")
    return [x1, y1, x2, y2]


CONVERTERS = (Converter(MANIFEST, find_splits, items, samples),)
