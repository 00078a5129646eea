"""What a checkpoint knows without its weights: checks of a question, its tokens, how its answers are read.

The predictor builds on it; so does a server whose model runs elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, MutableMapping, Sequence
from typing import TYPE_CHECKING

from rsunivlm.codecs import BoxCodec, MaskCodec
from rsunivlm.inference.answer import Request
from rsunivlm.inference.constraints import Constraints
from rsunivlm.inference.loading import load_frontend
from rsunivlm.inference.preparation import Prompt, prepare, tokenise
from rsunivlm.tasks import Route

if TYPE_CHECKING:
    from typing import Self

    from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMConfig
    from rsunivlm.models.rsunivlm.processing_rsunivlm import RSUniVLMProcessor

# Generous ends for free text that does not stop by itself. The longest mask there is, a checkerboard, takes
# 4 tokens a cell where its label is one.
MAX_NEW_TOKENS_TEXT = 256
MAX_NEW_TOKENS_BOXES = 128
TOKENS_PER_CELL = 4


class Frontend:
    """Configuration and processor of a checkpoint.

    Attributes:
        config: Of the checkpoint.
        processor: Its tokenizer, chat format and image preprocessing.
        box_codec: Reads and writes its boxes.
        mask_codec: Reads its masks.
        constraints: The grammars of its answers.
    """

    def __init__(self, config: RSUniVLMConfig, processor: RSUniVLMProcessor) -> None:
        self.config, self.processor = config, processor
        self.box_codec = BoxCodec.from_dict(config.box_codec or {})
        self.mask_codec = MaskCodec.from_dict(config.mask_codec or {})
        self.constraints = Constraints(
            self.box_codec, self.mask_codec, processor.tokenizer, processor.end_token_id
        )

    @classmethod
    def from_pretrained(cls, checkpoint: str | os.PathLike[str]) -> Self:
        """Read a checkpoint's configuration and tokenizer; no weights.

        Args:
            checkpoint: Folder or hub id.

        Raises:
            ValueError: No configuration or tokenizer there, or another architecture.
        """
        return cls(*load_frontend(checkpoint))

    def check(self, request: Request) -> Route:
        """Route a request and refuse what can be refused without opening its images.

        Raises:
            ValueError: The number of images does not fit the task, image marks do not match, the task is
                unknown, the prompt is too long or holds control tokens, labels cannot be told apart.
        """
        chosen, _, _ = tokenise(request, self.processor, self.positions)
        self.constraints.of(request, chosen)
        return chosen

    def prepare(self, request: Request, known: MutableMapping[int, Hashable] | None = None) -> Prompt:
        """A request in tokens, with its route; see `rsunivlm.inference.preparation.prepare`.

        Raises:
            ValueError: See `check`; an image file that is not there.
        """
        known = {} if known is None else known
        return prepare(request, self.processor, self.positions, self.config.num_experts, known)

    def token_limit(self, prompt: Prompt, usual: int | None = None) -> int:
        """Most tokens of an answer, within the positions that its prompt leaves.

        Args:
            prompt: The question.
            usual: Limit where the request names none; by default one that is generous for the task.
        """
        limit = prompt.request.max_new_tokens or usual or self._generous(prompt.route.task.answer_kind)
        return min(limit, self.positions - len(prompt.input_ids))

    def text_of(self, tokens: Sequence[int]) -> str:
        """See `ChatProcessor.text_of`."""
        return self.processor.text_of(tokens)

    @property
    def positions(self) -> int:
        """Positions that the model has for prompt and answer."""
        return int(self.config.text_config.max_position_embeddings)

    def _generous(self, kind: str) -> int:
        if kind == "mask":
            return TOKENS_PER_CELL * self.mask_codec.grid**2
        return MAX_NEW_TOKENS_BOXES if kind == "boxes" else MAX_NEW_TOKENS_TEXT
