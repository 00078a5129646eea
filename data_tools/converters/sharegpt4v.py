"""ShareGPT4V: detailed captions of general images, by GPT-4V.

``sharegpt4v_instruct_gpt4-vision_cap100k.json`` is a list of LLaVA-style records whose image paths begin with
the name of the set they come from (see `data_tools.image_sets`).

The answers describe an image in a whole paragraph, and the set's own questions, in many wordings, ask for
that. They are kept as ``[VQA]`` questions. As ``[CAP]`` records they would get that task's prompts, which ask
for one short sentence, and teach the model not to mind what it is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_tools.converter import Converter, Manifest, Sample, Settings
from data_tools.files import stream_json
from data_tools.image_sets import size_in_set
from data_tools.report import ConversionReport
from rsunivlm.data.records import Record
from rsunivlm.tasks import Task

_FILE = "sharegpt4v_instruct_gpt4-vision_cap100k.json"
MANIFEST = Manifest(
    name="sharegpt4v",
    title="ShareGPT4V",
    tasks=(Task.VQA,),
    source="https://huggingface.co/datasets/Lin-Chen/ShareGPT4V",
    licence="CC BY-NC 4.0; the images have terms of their own",
    layout=f"[sharegpt4v/]{_FILE} coco/train2017/*.jpg sam/images/*.jpg llava/llava_pretrain/images/... "
    "wikiart/... web-celebrity/... web-landmark/... share_textvqa/...",
    needs=(f"{_FILE}|sharegpt4v/{_FILE}", "coco/train2017/*"),
    folders=("ShareGPT4V", "sharegpt4v"),
    counts={"train": 102_025},
    notes="Detailed captions are asked for in the set's own words, as [VQA]: the prompts of [CAP] want one "
    "sentence. Image sets that are not downloaded are left out.",
)


@dataclass(frozen=True)
class _Item:
    """An entry of the file, unchecked."""

    number: int
    entry: Any


def find_splits(root: Path) -> tuple[str, ...]:
    """Return the one split there is.

    Raises:
        ValueError: the annotation file is not there.
    """
    if not _annotations(root).is_file():
        raise ValueError(f"{root} has no {_FILE}; expected layout: {MANIFEST.layout}")
    return ("train",)


def items(split: str, settings: Settings, report: ConversionReport) -> Iterator[_Item]:
    """Yield every entry of the file."""
    for number, entry in enumerate(stream_json(_annotations(settings.root), "item")):
        yield _Item(number, entry)


def samples(item: _Item, settings: Settings, report: ConversionReport) -> Iterator[Sample]:
    """Yield the question or questions of a record."""
    try:
        record = Record.from_json(item.entry)
        (image,) = record.images
        if size_in_set(settings.root, image, len(record.turns), report) is None:
            return
    except ValueError as error:
        report.skip(f"{_FILE} entry {item.number}", str(error))
        return
    name = f"train-{item.number}"
    for number, turn in enumerate(record.turns):
        yield Sample(
            id=f"{name}-{number}" if number else name,
            images=(image,),
            task=Task.VQA,
            slots={"question": turn.prompt},
            answers=(turn.answer,),
            target={"answer": turn.answer, "type": "detailed description"},
            conversation=name if len(record.turns) > 1 else "",
        )


def _annotations(root: Path) -> Path:
    inner = root / "sharegpt4v" / _FILE
    return inner if inner.is_file() else root / _FILE


CONVERTERS = (Converter(MANIFEST, find_splits, items, samples),)
