"""The task language of RSUniVLM: tokens, prompt templates, granularities and the training-free router.

Everything the model is asked begins with a task token (``[VG] the red car``). The token decides which
expert answers: image level, region level or pixel level. The router below reads the prompt once, outside
the model, and says how it decided (`Route.source`), so that a route is data and never a hidden switch.

Source of tokens and templates: Liu and Lian, "RSUniVLM: A Unified Vision Language Model for Remote Sensing
via Granularity-oriented Mixture of Experts" (2024), sections 3 and 9. The paper prints no prompt for
captioning and region description: ``[REF] what is [1, 20, 9, 30]?`` is the public demo's form, the caption
prompts are ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from string import Formatter
from types import MappingProxyType
from typing import Literal

IMAGE_MARK = "<image>"


class Granularity(IntEnum):
    """Level of detail an answer needs; the value is the index of the expert that gives it."""

    IMAGE = 0
    REGION = 1
    PIXEL = 2


class Task(StrEnum):
    """The eight tasks of the paper; the values are the names used on command lines and in records."""

    SC = "sc"  # scene classification
    VQA = "vqa"  # visual question answering
    CAP = "cap"  # image captioning
    VG = "vg"  # visual grounding: text -> box
    REG = "reg"  # referring expression generation: box -> text
    SS = "ss"  # semantic segmentation, one class per question
    CC = "cc"  # change captioning, two images
    CD = "cd"  # change detection mask, two images

    @property
    def token(self) -> str:
        """The task token that opens the prompt, e.g. ``[VG]``."""
        return _TOKENS[self]

    @property
    def granularity(self) -> Granularity:
        """The expert that answers this task."""
        return TOKEN_GRANULARITY[self.token]

    @property
    def num_images(self) -> int:
        """How many images the task looks at: 2 for the change tasks, else 1."""
        return 2 if self in (Task.CC, Task.CD) else 1

    @property
    def answer_kind(self) -> Literal["text", "boxes", "mask"]:
        """What the answer's text encodes."""
        if self is Task.VG:
            return "boxes"
        return "mask" if self in (Task.SS, Task.CD) else "text"


_TOKENS: Mapping[Task, str] = MappingProxyType(
    {
        Task.SC: "[CLS]",
        Task.VQA: "[VQA]",
        Task.CAP: "[CAP]",
        Task.VG: "[VG]",
        Task.REG: "[REF]",
        Task.SS: "[SEG]",
        Task.CC: "[CCD]",
        Task.CD: "[SEG]",  # the paper gives change masks the segmentation token
    }
)

TOKEN_GRANULARITY: Mapping[str, Granularity] = MappingProxyType(
    {
        "[CAP]": Granularity.IMAGE,
        "[CLS]": Granularity.IMAGE,
        "[VQA]": Granularity.IMAGE,
        "[CCD]": Granularity.IMAGE,
        "[VG]": Granularity.REGION,
        "[REF]": Granularity.REGION,
        "[SEG]": Granularity.PIXEL,
    }
)

_TOKEN_TASK: Mapping[str, Task] = MappingProxyType(
    {
        "[CAP]": Task.CAP,
        "[CLS]": Task.SC,
        "[VQA]": Task.VQA,
        "[CCD]": Task.CC,
        "[VG]": Task.VG,
        "[REF]": Task.REG,
        "[SEG]": Task.SS,  # with two images: Task.CD
    }
)

# Tokens of other remote-sensing models, as users paste them. GeoChat's `[refer]` asks for a box and its
# `[identify]` for a description, so `[refer]` must not be read as our `[REF]`.
_ALIAS_TASK: Mapping[str, Task] = MappingProxyType(
    {
        "[refer]": Task.VG,
        "[grounding]": Task.VG,
        "[detection]": Task.VG,
        "[identify]": Task.REG,
        "[reg]": Task.REG,
        "[caption]": Task.CAP,
        "[classify]": Task.SC,
        "[sc]": Task.SC,
        "[segmentation]": Task.SS,
        "[ss]": Task.SS,
        "[cd]": Task.CD,
        "[cc]": Task.CC,
    }
)

TEMPLATES: Mapping[Task, tuple[str, ...]] = MappingProxyType(
    {
        Task.SC: (
            "[CLS] Choose the best category describe the image from: {classes}. Only output the category.",
        ),
        Task.VQA: ("[VQA] {question}",),
        Task.CAP: (
            "[CAP] Describe this image in one sentence.",
            "[CAP] Please provide a short caption of the image.",
            "[CAP] What does this image show?",
        ),
        Task.VG: ("[VG] {expression}",),
        Task.REG: ("[REF] what is {box}?",),
        Task.SS: (
            "[SEG] Can you segment the {label} in this image?",
            "[SEG] Please segment the {label} in this image.",
            "[SEG] What is {label} in this image? Please respond with segmentation mask.",
            "[SEG] What is {label} in this image? Please output segmentation mask.",
        ),
        Task.CC: (
            "[CCD] Please briefly describe the changes in these two images.",
            "[CCD] What are the differences between these two images?",
            "[CCD] Can you describe the key changes in the second image compared to the first?",
            "[CCD] What visual changes can be observed between the two images?",
            "[CCD] Highlight the main differences between the two images.",
            "[CCD] What has been altered in the second image compared to the first one?",
            "[CCD] Describe any noticeable transformations in these images.",
            "[CCD] What specific details have changed from the first image to the second?",
            "[CCD] Point out the adjustments made between these two images.",
            "[CCD] What are the most significant changes visible in the images?",
        ),
        Task.CD: (
            "[SEG] Please Segment the {label} area in the images that have changed in the second image..",
            "[SEG] Please segment the {label} area in the images that have changed in the second image.",
            "[SEG] Please segment the {label} area in this image that have changed in the second image.",
            "[SEG] Which areas belong to {label} and have undergone changes? output the segmentation mask.",
            "[SEG] Which areas belong to {label} and have undergone changes?",
        ),
    }
)

_BRACKET_TOKEN = re.compile(r"\[[A-Za-z]+\]")
_BOX = re.compile(r"\[\s*\d+(?:\.\d+)?(?:\s*,\s*\d+(?:\.\d+)?){3}\s*\]")
# Word cues, tried in this order; the first hit decides.
_WORD_CUES: tuple[tuple[Task, re.Pattern[str]], ...] = (
    (Task.SS, re.compile(r"\b(segment(ation)?|mask|pixels?)\b", re.I)),
    (
        Task.VG,
        re.compile(
            r"\b(where (is|are)|locat(e|ion)|bounding box|box(es)? (of|for|around)|ground|find|detect)\b",
            re.I,
        ),
    ),
    (
        Task.SC,
        re.compile(
            r"\b(classif(y|ication)|(scene )?category|which (scene )?class|land[- ]use class)\b", re.I
        ),
    ),
    (
        Task.CAP,
        re.compile(r"\b(caption|describe|description|summari[sz]e|what does (this|the) image show)\b", re.I),
    ),
    (
        Task.VQA,
        re.compile(r"\?\s*$|^\s*(is|are|how many|what|which|does|do|can|are there|is there|count)\b", re.I),
    ),
)

RouteSource = Literal["explicit", "token", "alias", "structure", "words", "default"]


@dataclass(frozen=True)
class Route:
    """Where a prompt goes, and why.

    Attributes:
        task: The task whose codec decodes the answer.
        granularity: The expert that answers; also the value of `expert_ids` for the sample.
        source: Which step of the ladder decided (see `route`).
        confidence: 1.0 when the prompt says it outright, lower when inferred from structure or words.
    """

    task: Task
    granularity: Granularity
    source: RouteSource
    confidence: float


def route(prompt: str, *, num_images: int = 1, task: Task | str | None = None) -> Route:
    """Choose task and expert for a prompt; the first step that applies wins.

    The ladder: an explicit `task`; a task token or an alias of one (case-insensitive; the leading one, else
    the first in the text); the structure of the prompt (a box in it, two images); its words; and, when
    nothing speaks, visual question answering by the image expert.

    Args:
        prompt: The user's text, with or without image marks and task token.
        num_images: Number of images that come with the prompt.
        task: Overrides everything the prompt says.

    Returns:
        The route, with the step that decided in `source`.

    Raises:
        ValueError: `task` is not a known task.
    """
    if task is not None:
        chosen = parse_task(task)
        return Route(chosen, chosen.granularity, "explicit", 1.0)
    for match in _BRACKET_TOKEN.finditer(prompt):
        found = match.group()
        by_token = _TOKEN_TASK.get(found.upper())
        if by_token is not None:
            return _with_image_count(by_token, num_images, "token", 1.0)
        by_alias = _ALIAS_TASK.get(found.lower())
        if by_alias is not None:
            return _with_image_count(by_alias, num_images, "alias", 1.0)
    text = prompt.replace(IMAGE_MARK, " ").strip()
    if num_images == 2:
        wants_mask = _WORD_CUES[0][1].search(text) is not None
        return _with_image_count(Task.SS if wants_mask else Task.CC, 2, "structure", 0.8)
    if _BOX.search(text):
        return _with_image_count(Task.REG, num_images, "structure", 0.8)
    for cued, pattern in _WORD_CUES:
        if pattern.search(text):
            return _with_image_count(cued, num_images, "words", 0.5)
    return Route(Task.VQA, Granularity.IMAGE, "default", 0.0)


def parse_task(task: Task | str) -> Task:
    """Return the task of a name (``"vg"``) or token (``"[VG]"``).

    Raises:
        ValueError: The name is unknown; the message lists the known ones.
    """
    if isinstance(task, Task):
        return task
    name = task.strip()
    if name.lower() in list(Task):
        return Task(name.lower())
    if name.upper() in _TOKEN_TASK:
        return _TOKEN_TASK[name.upper()]
    raise ValueError(f"unknown task {task!r}; known tasks: {', '.join(Task)}")


def render_prompt(task: Task, *, template: int = 0, **slots: str) -> str:
    """Fill a prompt template, e.g. ``render_prompt(Task.VG, expression="the red car")``.

    Args:
        task: The task to ask for.
        template: Index into ``TEMPLATES[task]``.
        slots: Values of the template's slots: `classes` (SC), `question` (VQA), `expression` (VG), `box`
            (REG), `label` (SS, CD).

    Returns:
        The prompt with its task token, without image marks.

    Raises:
        ValueError: A slot is missing or unknown, or there is no such template.
    """
    templates = TEMPLATES[task]
    if not 0 <= template < len(templates):
        raise ValueError(f"task {task} has templates 0..{len(templates) - 1}, not {template}")
    wanted = {name for _, name, _, _ in Formatter().parse(templates[template]) if name}
    if wanted != set(slots):
        raise ValueError(f"the prompt of task {task} needs slots {sorted(wanted)}, got {sorted(slots)}")
    return templates[template].format(**slots)


def with_images(prompt: str, num_images: int, separator: str = "") -> str:
    """Put the image marks and a line break before a prompt, e.g. two marks before ``[CCD] ...``.

    Args:
        prompt: Prompt without image marks.
        num_images: Number of marks; 0 returns the prompt unchanged.
        separator: Text between two marks: empty in the paper, one space in the public demo.
    """
    return separator.join([IMAGE_MARK] * num_images) + "\n" + prompt if num_images else prompt


def with_token(prompt: str, task: Task) -> str:
    """Open a prompt with the token of `task`, in the place of a token or alias that it opens with."""
    return f"{task.token} {without_token(prompt)}"


def without_token(prompt: str) -> str:
    """The prompt without the task token or alias that it opens with."""
    leading = _BRACKET_TOKEN.match(prompt)
    if leading and (leading.group().upper() in _TOKEN_TASK or leading.group().lower() in _ALIAS_TASK):
        return prompt[leading.end() :].lstrip()
    return prompt


def _with_image_count(task: Task, num_images: int, source: RouteSource, confidence: float) -> Route:
    """Split `[SEG]` into segmentation (one image) and change detection (two)."""
    if task is Task.SS and num_images == 2:
        task = Task.CD
    elif task is Task.CD and num_images == 1:
        task = Task.SS
    return Route(task, task.granularity, source, confidence)
