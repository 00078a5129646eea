"""The predictor: requests of any task, image count and expert in; typed answers out.

It prepares requests, hands them to the scheduler that decodes them together, and reads the text with the
codec of the task. The answers come back in the given order and equal those of single requests.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from rsunivlm.inference.answer import Answer, ImageLike, Request, read_answer
from rsunivlm.inference.constraints import mask_labels
from rsunivlm.inference.conversation import Conversation
from rsunivlm.inference.families import Predictor, as_images
from rsunivlm.inference.frontend import Frontend
from rsunivlm.inference.loading import load_checkpoint
from rsunivlm.inference.prefixes import PrefixStore
from rsunivlm.inference.scheduler import DEFAULT_DECODING, Decoding, Job, Scheduler
from rsunivlm.inference.soft_labels import soft_labels

if TYPE_CHECKING:
    from typing import Self

    from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration
    from rsunivlm.models.rsunivlm.processing_rsunivlm import RSUniVLMProcessor


class RSUniVLM(Frontend, Predictor):
    """A loaded checkpoint that answers questions.

    Example:
        >>> model = RSUniVLM.from_pretrained("playground/checkpoints/nano")
        >>> model.ask("scene.png", "[VG] the red vehicle").boxes_px
    """

    model: RSUniVLMForConditionalGeneration

    def __init__(
        self,
        model: RSUniVLMForConditionalGeneration,
        processor: RSUniVLMProcessor,
        *,
        prefix_cache_gb: float = 0.5,
        compile: bool = False,
    ) -> None:
        """Take over a model.

        Args:
            model: In memory, on its device.
            processor: Of the same checkpoint.
            prefix_cache_gb: Memory for keys and values that questions about the same image share, in
                gigabytes on the model's device.
            compile: Compile decoding passes; see `rsunivlm.inference.compiled`. Takes a minute or so when
                the first questions are asked, and pays on a GPU that answers many.
        """
        from rsunivlm.models.rsunivlm.row_attention import NAME  # imports transformers

        super().__init__(model.config, processor)
        self.model = model.eval()
        self.model.set_attn_implementation({"text_config": NAME})
        self._images: OrderedDict[Hashable, tuple[torch.Tensor, tuple[int, int]]] = OrderedDict()
        self._prefixes = PrefixStore(int(prefix_cache_gb * 1e9))
        self._compiled: Callable[..., Any] | None = None
        if compile:
            from rsunivlm.inference.compiled import compile_language_model  # imports transformers

            self._compiled = compile_language_model(self.model.model.language_model)

    @classmethod
    def from_pretrained(
        cls,
        checkpoint: str | os.PathLike[str],
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        int8: bool = False,
        compile: bool = False,
    ) -> Self:
        """See `Predictor.from_pretrained`.

        Args:
            checkpoint: Folder or hub id.
            device: Where to.
            dtype: Of the numbers.
            int8: Make the weights int8 while loading, for the CPU only. A checkpoint that holds int8 weights
                needs no word of it.
            compile: As for the class.

        Raises:
            ValueError: Also int8 weights where they cannot be computed with.
        """
        model, processor = load_checkpoint(checkpoint, device=device, dtype=dtype, int8=int8)
        return cls(model, processor, compile=compile)

    def answer_batch(
        self,
        requests: Sequence[Request],
        *,
        batch_size: int = 16,
        max_new_tokens: int | None = None,
        decoding: Decoding = DEFAULT_DECODING,
    ) -> list[Answer]:
        """See `Predictor.answer_batch`."""
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        known: dict[int, Hashable] = {}
        jobs = [
            self.job(request, decoding, known=known, max_new_tokens=max_new_tokens) for request in requests
        ]
        self._decode(jobs, decoding, batch_size)
        return [self.read(job) for job in jobs]

    def converse(
        self, images: ImageLike | Sequence[ImageLike], *, decoding: Decoding = DEFAULT_DECODING
    ) -> Conversation:
        """Begin a conversation about an image or a pair; see `Conversation.ask`."""

        def answer(request: Request) -> Answer:
            job = self.job(request, decoding, keep=True)
            self._decode([job], decoding, 1)
            return self.read(job)

        return Conversation(answer, as_images(images))

    def stream(self, request: Request, *, decoding: Decoding = DEFAULT_DECODING) -> Iterator[str]:
        """The text of an answer, piece by piece as it is written; joined, it is `Answer.text`.

        Raises:
            ValueError: See `answer_batch`.
        """
        pieces: list[str] = []
        job = self.job(request, decoding, on_text=pieces.append)
        scheduler = self.scheduler(decoding, 1)
        scheduler.waiting.append(job)
        while scheduler.busy:
            scheduler.step()
            yield from pieces
            pieces.clear()
        if job.error is not None:
            raise job.error

    def forget(self) -> None:
        """Let go of images and beginnings that were kept for further questions."""
        self._images.clear()
        self._prefixes.clear()

    def scheduler(self, decoding: Decoding, slots: int) -> Scheduler:
        """A scheduler of its own; what questions about an image share is shared with all of them."""
        from rsunivlm.inference.runner import ModelRunner  # imports transformers

        runner = ModelRunner(self.model, self.processor, slots, self._images, self._prefixes, self._compiled)
        return Scheduler(runner, decoding, slots)

    def job(
        self,
        request: Request,
        decoding: Decoding,
        *,
        known: dict[int, Hashable] | None = None,
        max_new_tokens: int | None = None,
        on_text: Callable[[str], None] | None = None,
        keep: bool = False,
    ) -> Job:
        """A request, made ready for a scheduler.

        Args:
            request: The question.
            decoding: How to decode.
            known: See `rsunivlm.inference.preparation.prepare`.
            max_new_tokens: Limit of the answer's length unless the request names one.
            on_text: Called with every new piece of the answer's text.
            keep: Keep what is computed for a next turn, as is done for later turns anyway.

        Raises:
            ValueError: See `check`.
        """
        prompt = self.prepare(request, known)
        constraint = self.constraints.of(request, prompt.route) if decoding.constrain else None
        # A grammar ends by itself; cut short, its answer would be malformed.
        usual = None if constraint is None else self.positions
        return Job(
            prompt=prompt,
            constraint=constraint,
            limit=self.token_limit(prompt, max_new_tokens or usual),
            end_token=self.processor.end_token_id,
            keep=keep or bool(request.history),
            choices={} if decoding.soft_masks and constraint is not None and constraint.pieces else None,
            on_tokens=None if on_text is None else TextPieces(self.text_of, on_text),
        )

    def read(self, job: Job) -> Answer:
        """The answer of a job that is done."""
        request, route = job.prompt.request, job.prompt.route
        labels = mask_labels(request, route) if job.constraint is not None else request.labels
        answer = read_answer(
            self.text_of(job.tokens),
            route,
            job.size,
            box_codec=self.box_codec,
            mask_codec=self.mask_codec,
            labels=labels,
            finished=job.finished,
            decoding=job.report,
        )
        if job.choices is None or job.constraint is None or job.constraint.pieces is None or not job.finished:
            return answer
        shares = soft_labels(job.constraint.pieces, job.tokens, job.choices)
        return replace(answer, mask=self.mask_codec.soft_to_mask(shares, job.size))

    def _decode(self, jobs: Sequence[Job], decoding: Decoding, batch_size: int) -> None:
        scheduler = self.scheduler(decoding, min(batch_size, max(1, len(jobs))))
        scheduler.waiting.extend(_shared_together(jobs))
        while scheduler.busy:
            for job in scheduler.step():
                if job.error is not None:
                    raise job.error


class TextPieces:
    """Turns the growing tokens of an answer into pieces of text that can be shown at once."""

    def __init__(self, text_of: Callable[[Sequence[int]], str], on_text: Callable[[str], None]) -> None:
        self._text_of, self._on_text = text_of, on_text
        self._shown = 0

    def __call__(self, tokens: Sequence[int], complete: bool) -> None:
        """Show what is new."""
        text = self._text_of(tokens)
        # A character may be spelled by several tokens; half of one is not shown until the end.
        if len(text) > self._shown and (complete or not text.endswith("\ufffd")):
            self._on_text(text[self._shown :])
            self._shown = len(text)


def _shared_together(jobs: Sequence[Job]) -> list[Job]:
    """Questions about the same images one after the other, by expert; long answers first.

    Images in the order of their first question; within, what shares keys and values stands together.
    """
    place: dict[tuple[Hashable, ...], int] = {}
    for job in jobs:
        place.setdefault(job.prompt.images, len(place))
    return sorted(jobs, key=lambda job: (place[job.prompt.images], job.prompt.expert, -job.limit))
