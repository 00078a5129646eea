"""Ways to ask for masks that differ from one question, one answer; each wraps an `eval.tasks.Answerer`.

- another decode rule: the same text, painted or interpolated (``--decode``);
- the change in words first (``--cot``): where the model says that nothing has changed, the mask is empty, and
  only else it is asked for a mask. The paper names a chain of thought for change detection and does not
  describe it; this is the procedure that its task tokens suggest;
- tiles (``--tile``, see `rsunivlm.inference.tiling`).

They belong to the asking, not to the scoring: `describe` names them, so that answers of two ways are never
mixed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from eval.cc import says_no_change
from eval.tasks import Answerer
from eval.tiling import TiledAnswerer
from rsunivlm.codecs import MaskReport
from rsunivlm.images import open_image
from rsunivlm.inference.answer import Answer, Request
from rsunivlm.inference.tiling import Tiling
from rsunivlm.tasks import Task, render_prompt, route

_CAPTION_TOKENS = 128


@dataclass(frozen=True)
class Asking:
    """How masks are asked for.

    Attributes:
        tiling: how scenes are cut; None asks for whole images.
        decode: decode rule; None for that of the checkpoint.
        cot: ask for the change in words first.
    """

    tiling: Tiling | None = None
    decode: str | None = None
    cot: bool = False

    def check(self, task: Task) -> None:
        """Raise ValueError where a task cannot be asked so."""
        for option, value in (("--tile", self.tiling), ("--decode", self.decode)):
            if value is not None and task.answer_kind != "mask":
                raise ValueError(f"{option} is for masks ({Task.SS}, {Task.CD}), not for task {task}")
        if self.cot and task is not Task.CD:
            raise ValueError(f"--cot is for change detection ({Task.CD}), not for task {task}")

    def applied(self, answerer: Answerer, task: Task) -> Answerer:
        """The answerer as it is to be asked for a task; itself where nothing applies to the task."""
        if task.answer_kind != "mask":
            return answerer
        if self.decode is not None:
            answerer = Redecoded(answerer, self.decode)
        if self.cot and task is Task.CD:
            answerer = WordsFirst(answerer)
        return TiledAnswerer(answerer, self.tiling) if self.tiling is not None else answerer


class Redecoded:
    """An answerer whose masks are decoded by another rule."""

    def __init__(self, inner: Answerer, rule: str) -> None:
        self.tasks, self.box_codec = inner.tasks, inner.box_codec
        self.mask_codec = replace(inner.mask_codec, decode_rule=rule)  # type: ignore[arg-type]
        self._inner = inner

    def describe(self) -> dict[str, Any]:
        """The model, and the rule."""
        return self._inner.describe() | {"decode_rule": self.mask_codec.decode_rule}

    def answer_batch(
        self, requests: Sequence[Request], *, batch_size: int, max_new_tokens: int
    ) -> list[Answer]:
        """The answers, their texts decoded anew; what is no mask stays as it is."""
        answers = self._inner.answer_batch(requests, batch_size=batch_size, max_new_tokens=max_new_tokens)
        return [answer if answer.mask is None else self._decode(answer) for answer in answers]

    def _decode(self, answer: Answer) -> Answer:
        assert answer.mask is not None
        height, width = answer.mask.shape
        mask, report = self.mask_codec.decode(answer.text, answer.labels, (width, height))
        return replace(answer, mask=mask, report=report)


class WordsFirst:
    """An answerer that is asked for the change in words before it is asked for its mask."""

    def __init__(self, inner: Answerer) -> None:
        self.tasks = inner.tasks
        self.box_codec, self.mask_codec = inner.box_codec, inner.mask_codec
        self._inner = inner

    def describe(self) -> dict[str, Any]:
        """The model, and that it was asked in words first."""
        return self._inner.describe() | {"cot": "change caption first; none said, empty mask"}

    def answer_batch(
        self, requests: Sequence[Request], *, batch_size: int, max_new_tokens: int
    ) -> list[Answer]:
        """Masks in the order of the requests; the text is the caption and, below it, that of the mask."""
        captions = self._inner.answer_batch(
            [Request(request.images, render_prompt(Task.CC)) for request in requests],
            batch_size=batch_size,
            max_new_tokens=_CAPTION_TOKENS,
        )
        changed = [not says_no_change(caption.text) for caption in captions]
        asked = [request for request, wanted in zip(requests, changed, strict=True) if wanted]
        found: Iterator[Answer] = iter(())
        if asked:
            answered = self._inner.answer_batch(asked, batch_size=batch_size, max_new_tokens=max_new_tokens)
            found = iter(answered)
        answers = []
        for request, caption, wanted in zip(requests, captions, changed, strict=True):
            answer = next(found) if wanted else self._empty(request)
            text = f"{caption.text}\n{answer.text}" if wanted else caption.text
            answers.append(replace(answer, text=text))
        return answers

    def _empty(self, request: Request) -> Answer:
        width, height = open_image(request.images[-1]).size
        grid = self.mask_codec.grid
        return Answer(
            text="",
            route=route(request.prompt, num_images=len(request.images), task=request.task),
            mask=np.zeros((height, width), np.uint8),
            labels=(self.mask_codec.background, *(request.labels or ())),
            report=MaskReport(grid, 0, 0, 0, 0, (), (), 0, ("no change in words: not asked",), valid=True),
        )
