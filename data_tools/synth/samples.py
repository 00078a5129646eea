"""From scenes and pairs to records: which questions are asked about a picture, and their true answers.

Training records hold several turns of one granularity about one picture: the vision tower sees the picture
once and the loss counts every answer. Evaluation samples are single turns with prompt template 0 and the
ground truth in its own units.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from data_tools.synth.captions import captions
from data_tools.synth.change_captions import change_captions
from data_tools.synth.expressions import choose, describe, expressions
from data_tools.synth.items import LABEL_INDEX, LABELS
from data_tools.synth.pairs import Pair
from data_tools.synth.questions import ask
from data_tools.synth.scene import SCENE_CLASSES, Scene
from rsunivlm.codecs import BoxCodec, MaskCodec
from rsunivlm.data.records import Turn
from rsunivlm.tasks import TEMPLATES, Task, render_prompt

MIN_LABEL_SHARE = 0.012
ABSENT_LABEL = 0.12
ASKED_LABELS = tuple(LABELS[1:])


@dataclass(frozen=True)
class Sample:
    """One question with its answer and its ground truth."""

    task: Task
    turn: Turn
    target: dict[str, Any]


@dataclass(frozen=True)
class Language:
    """How answers are spelled and whether prompts vary.

    ``vary`` draws prompt templates (training); without it template 0 is used throughout (evaluation).
    """

    boxes: BoxCodec
    masks: MaskCodec
    vary: bool

    def prompt(self, task: Task, rng: Random, **slots: str) -> str:
        """Return a prompt of ``task``."""
        return render_prompt(task, template=rng.randrange(len(TEMPLATES[task])) if self.vary else 0, **slots)


def classification(scene: Scene, language: Language, rng: Random) -> Sample:
    """Ask for the scene class; the classes are listed in random order while training."""
    names = list(SCENE_CLASSES)
    if language.vary:
        rng.shuffle(names)
    prompt = language.prompt(Task.SC, rng, classes=", ".join(names))
    return Sample(Task.SC, Turn(prompt, scene.kind), {"label": scene.kind, "classes": list(SCENE_CLASSES)})


def questions(scene: Scene, language: Language, rng: Random, count: int) -> list[Sample]:
    """Ask up to ``count`` RSVQA-style questions."""
    return [
        Sample(
            Task.VQA,
            Turn(language.prompt(Task.VQA, rng, question=question.text), question.answer),
            {"answer": question.answer, "type": question.kind},
        )
        for question in ask(scene, rng, count)
    ]


def captioning(scene: Scene, language: Language, rng: Random) -> Sample:
    """Ask for a caption; training answers with any reference, evaluation keeps them all."""
    references = captions(scene, rng)
    answer = rng.choice(references) if language.vary else references[0]
    return Sample(Task.CAP, Turn(language.prompt(Task.CAP, rng), answer), {"references": references})


def grounding(scene: Scene, language: Language, rng: Random, count: int) -> list[Sample]:
    """Ask up to ``count`` times for the box of a described object."""
    found = []
    for hit in choose(expressions(scene, rng), count, rng):
        box = list(scene.box_px(hit.target.box))
        answer = language.boxes.encode([box], (scene.size, scene.size))
        target = {"boxes_px": [_rounded(box)], "image_size": [scene.size, scene.size]}
        target["category"] = hit.target.category
        found.append(
            Sample(Task.VG, Turn(language.prompt(Task.VG, rng, expression=hit.text), answer), target)
        )
    return found


def region_description(scene: Scene, language: Language, rng: Random, count: int) -> list[Sample]:
    """Ask up to ``count`` times for the expression of a box; the answer is the plainest one."""
    hits = expressions(scene, None)
    things = list(dict.fromkeys(hit.target for hit in hits))
    rng.shuffle(things)
    # One building after another would teach little else.
    things.sort(key=lambda thing: thing.category == "building" and rng.random() < 0.5)
    found = []
    for thing in things[:count]:
        box = list(scene.box_px(thing.box))
        size = (scene.size, scene.size)
        prompt = language.prompt(Task.REG, rng, box=language.boxes.encode([box], size))
        references = [hit.text for hit in hits if hit.target == thing]
        answer = describe(hits, thing).text
        references.sort(key=lambda text: text != answer)
        target = {"box_px": _rounded(box), "references": references, "image_size": list(size)}
        found.append(Sample(Task.REG, Turn(prompt, answer), target))
    return found


def segmentation(scene: Scene, language: Language, rng: Random, count: int, mask_path: str) -> list[Sample]:
    """Ask up to ``count`` times for the mask of one class, now and then of a class that is absent."""
    shares = np.bincount(scene.labels.ravel(), minlength=len(LABELS)) / scene.labels.size
    present = [label for label in ASKED_LABELS if shares[LABEL_INDEX[label]] >= MIN_LABEL_SHARE]
    absent = [label for label in ASKED_LABELS if shares[LABEL_INDEX[label]] == 0]
    rng.shuffle(present)
    wanted = present[:count]
    if not wanted or rng.random() < ABSENT_LABEL:
        wanted = [*wanted[: count - 1], rng.choice(absent)]
    return [
        _mask_sample(Task.SS, scene.labels == LABEL_INDEX[label], label, language, rng, mask_path)
        for label in wanted
    ]


def _mask_sample(
    task: Task,
    mask: np.ndarray,
    label: str,
    language: Language,
    rng: Random,
    path: str,
    value: int | None = None,
) -> Sample:
    answer = language.masks.encode(mask.astype(np.uint8), ["others", label])
    target = {
        "mask": path,
        "labels": ["others", label],
        "value": LABEL_INDEX[label] if value is None else value,
    }
    return Sample(task, Turn(language.prompt(task, rng, label=label), answer), target)


def change_captioning(pair: Pair, language: Language, rng: Random) -> Sample:
    """Ask what changed."""
    references = change_captions(pair, rng)
    answer = rng.choice(references) if language.vary else references[0]
    target = {"references": references, "changed": pair.change != "none"}
    return Sample(Task.CC, Turn(language.prompt(Task.CC, rng), answer), target)


def change_detection(pair: Pair, language: Language, rng: Random, mask_path: str) -> Sample:
    """Ask for the mask of changed buildings."""
    return _mask_sample(Task.CD, pair.change_mask == 1, "building", language, rng, mask_path, value=1)


def _rounded(box: list[float]) -> list[float]:
    return [round(value, 3) for value in box]
