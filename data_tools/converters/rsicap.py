"""RSICap and RSIEval (RSGPT): one long caption per 512 px patch of DOTA; RSIEval also has questions.

RSICap has no test split of its own: papers that report "RSICap" score RSIEval's 100 captions, as far as one
can tell from their numbers. So the two are one dataset here, RSICap ``train`` and RSIEval ``test``; either
may be missing. The instruction that RSICap gives with each caption is one of a few that ask for a
description; the project's own caption prompts take its place.

RSIEval's answers are free text ("There are seven planes in the image."), judged by people in its paper.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_tools.converter import Converter, Manifest, Sample, Settings
from data_tools.files import image_size, read_json
from data_tools.questions import text_of
from data_tools.report import ConversionReport
from rsunivlm.data.records import resolve_image
from rsunivlm.tasks import Task

MANIFEST = Manifest(
    name="rsicap",
    title="RSICap, RSIEval",
    tasks=(Task.CAP, Task.VQA),
    source="https://github.com/Lavender105/RSGPT",
    licence="academic use only, as DOTA's images",
    layout="RSICap/{captions.json,images/*.png} RSIEval/{annotations.json,images/*.png}",
    needs=("RSICap/captions.json|RSIEval/annotations.json", "RSICap/images/*|RSIEval/images/*"),
    folders=("RSGPT/dataset", "RSGPT", "RSICap"),
    counts={"train": 2_585, "test": 100},
    counted_task=Task.CAP,
    notes="train is RSICap, test is RSIEval (100 captions; its page says 936 questions, others count 943 in "
    "its file). Both are cut from DOTA images. Answers to RSIEval's questions are free text that its paper "
    "had judged by people: --match contains is only a bound.",
)
# Split -> folder, annotation file, field of the caption.
_FILES = {
    "train": ("RSICap", "captions.json", "text_output"),
    "test": ("RSIEval", "annotations.json", "caption"),
}


@dataclass(frozen=True)
class _Item:
    """One annotation: its number in the file and itself."""

    split: str
    number: int
    entry: Any


def find_splits(root: Path) -> tuple[str, ...]:
    """Return "train" where RSICap is there, "test" where RSIEval is."""
    found = tuple(split for split, (folder, file, _) in _FILES.items() if (root / folder / file).is_file())
    if not found:
        raise ValueError(f"{root} holds neither RSICap nor RSIEval; expected layout: {MANIFEST.layout}")
    return found


def items(split: str, settings: Settings, report: ConversionReport) -> Iterator[_Item]:
    """Yield every annotation of a split.

    Raises:
        ValueError: the annotation file is malformed.
    """
    folder, file, _ = _FILES[split]
    path = settings.root / folder / file
    content = read_json(path)
    entries = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise ValueError(f"{path} has no list 'annotations'")
    for number, entry in enumerate(entries):
        yield _Item(split, number, entry)


def samples(item: _Item, settings: Settings, report: ConversionReport) -> Iterator[Sample]:
    """Yield an image's caption and, of RSIEval, its questions."""
    folder, file, field = _FILES[item.split]
    asked = item.entry.get("qa_pairs", []) if isinstance(item.entry, dict) else []
    pairs = asked if isinstance(asked, list) else [asked]
    name = f"{item.split}-{item.number}"
    try:
        image = f"{folder}/images/{text_of(item.entry, 'filename')}"
        image_size(resolve_image(settings.root, image))
    except ValueError as error:
        report.skip(f"{file} entry {item.number}", str(error), samples=1 + len(pairs))
        return
    try:
        caption = text_of(item.entry, field)
    except ValueError as error:
        report.skip(f"{file} entry {item.number}", str(error))
    else:
        yield Sample(name, (image,), Task.CAP, {}, (caption,), {"references": [caption]})
    for number, pair in enumerate(pairs):
        try:
            question, answer, kind = (text_of(pair, key) for key in ("question", "answer", "type"))
        except ValueError as error:
            report.skip(f"{file} entry {item.number} question {number}", str(error))
            continue
        target = {"answer": answer, "type": kind}
        yield Sample(f"{name}-{number}", (image,), Task.VQA, {"question": question}, (answer,), target)


CONVERTERS = (Converter(MANIFEST, find_splits, items, samples),)
