"""Which grammar the answer to a question has.

A box always has one. A mask has one where its labels are known: those of the request or, where the prompt is
one of the task's templates, the label that it names. A scene class has one where the prompt lists the
candidates in the words of its template. Any answer has one where the request lists the choices. All else is
free text.

Building a grammar takes some milliseconds and its states are worked out as they are met, so the recent ones
are kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from functools import cache, lru_cache
from string import Formatter
from typing import TYPE_CHECKING

import numpy as np

from rsunivlm.codecs import BoxCodec, MaskCodec
from rsunivlm.codecs.automaton import Automaton, State
from rsunivlm.codecs.grammar import MaskPieces, box_grammar, choice_grammar, mask_grammar
from rsunivlm.codecs.row_draft import RowDraft
from rsunivlm.inference.answer import Request
from rsunivlm.tasks import TEMPLATES, Route, Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

KEPT_GRAMMARS = 64
MAX_BOXES = 32
_KEPT_COLUMNS = 1 << 16


class Constraint:
    """An automaton as the scheduler uses it: with the places of tokens among its vocabulary, and drafts.

    Attributes:
        start: State before the first token.
        vocabulary: Sorted tokens that the grammar can ever allow.
        pieces: What a mask's text is made of; None for other answers.
    """

    def __init__(
        self, automaton: Automaton, pieces: MaskPieces | None = None, row_draft: RowDraft | None = None
    ) -> None:
        self.pieces, self._row_draft = pieces, row_draft
        self.start, self.vocabulary = automaton.start, automaton.vocabulary
        self.allowed, self.step, self.forced = automaton.allowed, automaton.step, automaton.forced
        self.columns = lru_cache(maxsize=_KEPT_COLUMNS)(self._columns)

    def draft(self, tokens: list[int], most: int) -> tuple[int, ...]:
        """A guess, in allowed tokens and at most so many, at what follows the answer so far."""
        return self._row_draft(tokens)[:most] if self._row_draft else ()

    def _columns(self, state: State) -> np.ndarray:
        """Places of the allowed tokens in `vocabulary`."""
        return np.searchsorted(self.vocabulary, self.allowed(state))


class Constraints:
    """The grammars of one checkpoint's codecs and tokenizer."""

    def __init__(
        self, box_codec: BoxCodec, mask_codec: MaskCodec, tokenizer: PreTrainedTokenizerBase, end_token: int
    ) -> None:
        def encode(text: str) -> list[int]:
            ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
            return ids

        self._box_codec, self._mask_codec = box_codec, mask_codec
        self._encode, self._end = encode, end_token
        self._kept: Callable[[str, Hashable], Constraint] = lru_cache(maxsize=KEPT_GRAMMARS)(self._build)

    def of(self, request: Request, route: Route) -> Constraint | None:
        """The grammar of the answer to a request; None where it is free text.

        Raises:
            ValueError: Labels that cannot be told apart, or an empty choice; names them.
        """
        choices = closed_list(request, route)
        if choices is not None:
            return self._kept("choices", choices)
        kind = route.task.answer_kind
        if kind == "boxes":
            return self._kept("boxes", None)
        if kind == "mask":
            labels = mask_labels(request, route)
            return None if labels is None else self._kept("mask", labels)
        return None

    def _build(self, kind: str, values: tuple[str, ...]) -> Constraint:
        if kind == "choices":
            return Constraint(choice_grammar(values, self._encode, self._end))
        if kind == "boxes":
            return Constraint(box_grammar(self._box_codec, self._encode, self._end, MAX_BOXES))
        labels = (self._mask_codec.background, *values)
        automaton = mask_grammar(self._mask_codec, labels, self._encode, self._end)
        pieces = MaskPieces.of(self._mask_codec, labels, self._encode)
        return Constraint(automaton, pieces, RowDraft(self._mask_codec, labels, self._encode))


def closed_list(request: Request, route: Route) -> tuple[str, ...] | None:
    """The answers that are allowed: the choices of the request or the classes in its prompt; else None."""
    if request.choices is not None:
        return tuple(request.choices)
    listed = template_slot(request.prompt, route.task, "classes") if route.task is Task.SC else None
    return None if listed is None else tuple(name for part in listed.split(",") if (name := part.strip()))


def mask_labels(request: Request, route: Route) -> tuple[str, ...] | None:
    """Classes that the mask of an answer may hold, without background; None where nothing says so."""
    if request.labels is not None:
        return tuple(request.labels)
    label = template_slot(request.prompt, route.task, "label")
    return None if label is None else (label,)


def template_slot(prompt: str, task: Task, slot: str) -> str | None:
    """What a prompt has in a slot of its task's templates; None if it is none of them."""
    plain = re.sub(r"^\s*(<image>\s*)*(\[[A-Za-z]+\]\s*)?", "", prompt).strip()
    for pattern in _patterns(task, slot):
        if match := pattern.fullmatch(plain):
            return match[1].strip()
    return None


@cache
def _patterns(task: Task, slot: str) -> list[re.Pattern[str]]:
    """Each template that has the slot as a pattern with one group, the task token left out."""
    patterns = []
    for template in TEMPLATES[task]:
        parts = list(Formatter().parse(template.partition("] ")[2]))
        if [name for _, name, _, _ in parts if name] == [slot]:
            spelled = "".join(re.escape(text) + ("(.+?)" if name else "") for text, name, _, _ in parts)
            patterns.append(re.compile(spelled, re.IGNORECASE | re.DOTALL))
    return patterns
