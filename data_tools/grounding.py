"""What all sets of boxes share: checking a box, and turning it into grounding and description samples."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

from data_tools.converter import Sample, Settings
from data_tools.expressions import Box, Thing, choose, expressions
from data_tools.report import ConversionReport
from rsunivlm.tasks import Task

# More ways to ask for the same box teach the words, not the place.
EXPRESSIONS_PER_OBJECT = 2


def check_box(values: Sequence[Any], size: tuple[int, int], slack: float = 0.0) -> Box:
    """Check the corners of a box as annotated.

    Args:
        values: x1, y1, x2, y2 in pixels, numbers or texts.
        size: (width, height) of the image in pixels.
        slack: a corner may lie so many pixels beyond the frame and is then moved onto it: annotation tools
            round, and sums of decimal numbers end in ...0001.

    Raises:
        ValueError: something is missing or no number, the box has no area or reaches beyond the frame.
    """
    width, height = size
    try:
        x1, y1, x2, y2 = (float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"box {list(values)} is incomplete or not made of numbers") from error
    if not all(map(math.isfinite, (x1, y1, x2, y2))) or x2 <= x1 or y2 <= y1:
        raise ValueError(f"box {list(values)} is reversed or empty")
    if x1 < -slack or y1 < -slack or x2 > width + slack or y2 > height + slack:
        raise ValueError(f"box {list(values)} reaches beyond the {width} x {height} image")
    return max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))


def grounding_samples(
    name: str,
    image: str,
    size: tuple[int, int],
    box: Box,
    asked: Sequence[str],
    settings: Settings,
    report: ConversionReport,
    *,
    training: bool = True,
) -> Iterator[Sample]:
    """Yield a grounding sample per expression of a box, and one description sample that has them all.

    A box that vanishes on the codec's scale cannot be taught and cannot be named in a prompt, but a grounding
    score has to count it: it gives an evaluation sample only, written with decimals.

    Args:
        name: id of the first sample; the others get a suffix.
        image: path of the image.
        size: (width, height) of the image in pixels.
        box: checked corners in pixels.
        asked: expressions that mean this box alone.
        settings: of the conversion.
        report: counts boxes that are too small.
        training: may be trained on.
    """
    text = settings.boxes.encode([box], size)
    if not text:
        report.left_out["box too small for the box codec: not in training, no REG"] += 1
    common = {"image_size": list(size)}
    for number, expression in enumerate(asked):
        yield Sample(
            id=f"{name}.{number}" if number else name,
            images=(image,),
            task=Task.VG,
            slots={"expression": expression},
            answers=(text or replace(settings.boxes, decimals=6).encode([box], size),),
            target={"boxes_px": [list(box)], **common},
            training=training and bool(text),
        )
    if text:
        yield Sample(
            id=f"{name}-reg",
            images=(image,),
            task=Task.REG,
            slots={"box": text},
            answers=tuple(asked),
            target={"box_px": list(box), "references": list(asked), **common},
            training=training,
        )


def detection_samples(
    name: str,
    image: str,
    size: tuple[int, int],
    things: Sequence[Thing],
    uncertain: Collection[str],
    settings: Settings,
    report: ConversionReport,
) -> Iterator[Sample]:
    """Yield the samples of all objects of an image that a rule-made expression singles out.

    Args:
        name: beginning of the samples' ids.
        image: path of the image.
        size: (width, height) of the image in pixels.
        things: its objects, boxes in pixels.
        uncertain: classes with more objects, of unknown number or place (see `data_tools.expressions`).
        settings: of the conversion; the seed chooses among the expressions of an object.
        report: counts the objects that nothing singles out.
    """
    found = expressions(things, size, uncertain)
    for index, thing in enumerate(things):
        asked = choose(found, index, EXPRESSIONS_PER_OBJECT, f"{settings.seed}/{name}-{index}")
        if asked:
            yield from grounding_samples(f"{name}-{index}", image, size, thing.box, asked, settings, report)
        elif thing.askable:
            report.left_out["objects that no unambiguous expression singles out"] += 1
        else:
            report.left_out["objects marked as difficult: never asked for"] += 1
