"""What goes into the predictor and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from rsunivlm.codecs import BoxCodec, BoxReport, MaskCodec, MaskReport
from rsunivlm.tasks import Route, Task

ImageLike: TypeAlias = str | Path | bytes | Image.Image


@dataclass(frozen=True)
class Request:
    """One question about one image or a pair.

    Attributes:
        images: Paths, encoded bytes or pictures; two for the change tasks, before and after.
        prompt: The user's words, with or without a task token, without image marks.
        task: Overrides the router.
        labels: Names of the classes a mask may hold, without background; by default those of the answer.
        choices: The answers that are allowed, e.g. the scene classes, or yes and no.
        history: Earlier turns about the same images, each prompt and answer, oldest first. All of it is read
            by the expert of this turn.
        max_new_tokens: Limit of the answer's length.
        max_seconds: Time for decoding; then the answer is cut.
    """

    images: Sequence[ImageLike]
    prompt: str
    task: Task | str | None = None
    labels: Sequence[str] | None = None
    choices: Sequence[str] | None = None
    history: Sequence[tuple[str, str]] = ()
    max_new_tokens: int | None = None
    max_seconds: float | None = None


@dataclass(frozen=True)
class DecodingReport:
    """What it took to write an answer.

    Attributes:
        tokens: Tokens of the answer.
        passes: Passes of the model that the answer took part in, the one that read its prompt included.
        forced: Tokens that the grammar left no choice about and that were written without a pass.
        drafted: Tokens that were guessed.
        accepted: Guessed tokens that were right.
        constrained: Whether a grammar held.
        changed: Tokens that the model alone would not have chosen; None where they were not counted.
    """

    tokens: int
    passes: int
    forced: int
    drafted: int
    accepted: int
    constrained: bool
    changed: int | None = None


@dataclass(frozen=True)
class Answer:
    """A decoded answer.

    Attributes:
        text: What the model wrote.
        route: Task and expert, and how the router chose them.
        boxes_px: Boxes [K, 4] as x1, y1, x2, y2 in pixels of the image, for grounding; else None.
        mask: Class indices [H, W] at the size of the (second) image, for mask tasks; else None.
        labels: Names of the mask's indices, background first; empty without a mask.
        report: What the codec had to repair or drop; None for text answers.
        finished: False when the answer was cut at the token or time limit.
        decoding: What it took to write it.
        drafts: What each expert of an RS-MoE wrote, by its name, before it was put together; else None.
    """

    text: str
    route: Route
    boxes_px: np.ndarray | None = None
    mask: np.ndarray | None = None
    labels: tuple[str, ...] = ()
    report: BoxReport | MaskReport | None = None
    finished: bool = True
    decoding: DecodingReport | None = None
    drafts: Mapping[str, str] | None = None

    def mask_shares(self) -> dict[str, float]:
        """Share of the mask's pixels that each label has; empty without a mask."""
        if self.mask is None:
            return {}
        counts = np.bincount(self.mask.ravel(), minlength=len(self.labels))
        return dict(zip(self.labels, (counts / self.mask.size).tolist(), strict=True))

    def to_json(self) -> dict[str, Any]:
        """The answer in JSON types; a mask is summed up by the share of pixels of each label."""
        result: dict[str, Any] = {
            "text": self.text,
            "task": str(self.route.task),
            "granularity": self.route.granularity.name.lower(),
            "route_source": self.route.source,
            "route_confidence": self.route.confidence,
            "finished": self.finished,
        }
        if self.decoding is not None:
            result["decoding"] = asdict(self.decoding)
        if self.drafts is not None:
            result["drafts"] = dict(self.drafts)
        if self.boxes_px is not None:
            result["boxes_px"] = np.round(self.boxes_px, 2).tolist()
        if self.mask is not None:
            result["mask_size"] = [self.mask.shape[1], self.mask.shape[0]]
            result["mask_share"] = {label: round(share, 4) for label, share in self.mask_shares().items()}
        return result


def read_answer(
    text: str,
    route: Route,
    size: tuple[int, int],
    *,
    box_codec: BoxCodec,
    mask_codec: MaskCodec,
    labels: Sequence[str] | None = None,
    finished: bool = True,
    decoding: DecodingReport | None = None,
) -> Answer:
    """Decode what a model wrote with the codec of the task; no text makes this raise.

    Args:
        text: The model's text.
        route: Where the question went.
        size: (width, height) in pixels of the image asked about; of a pair, the second one.
        box_codec: Reads boxes.
        mask_codec: Reads masks.
        labels: Names of the classes a mask may hold, without background; None takes those that the text
            names at their word.
        finished: False when the text was cut at the token limit.
        decoding: What it took to write it.
    """
    kind = route.task.answer_kind
    if kind == "boxes":
        boxes_px, box_report = box_codec.decode(text, size)
        return Answer(text, route, boxes_px=boxes_px, report=box_report, finished=finished, decoding=decoding)
    if kind == "mask":
        background = mask_codec.background
        if labels is None:
            _, seen = mask_codec.text_to_grid(text, (background,))
            labels = seen.unknown_labels
        names = (background, *labels)
        mask, mask_report = mask_codec.decode(text, names, size)
        return Answer(
            text, route, mask=mask, labels=names, report=mask_report, finished=finished, decoding=decoding
        )
    return Answer(text.strip(), route, finished=finished, decoding=decoding)
