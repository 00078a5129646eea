"""The predictor: batches requests of any task, generates, and decodes the text with the task's codec.

Requests are sorted by expert, kind of answer and length, so that a batch wastes little padding, a box does
not wait for a mask, and each expert runs on one slice of rows. The answers come back in the given order and
equal those of single requests.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image

from rsunivlm.codecs import BoxCodec, MaskCodec
from rsunivlm.images import open_image
from rsunivlm.inference.answer import Answer, ImageLike, Request, read_answer
from rsunivlm.inference.loading import load_checkpoint
from rsunivlm.tasks import IMAGE_MARK, Route, Task, route, with_token

if TYPE_CHECKING:
    from typing import Self

    from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration
    from rsunivlm.models.rsunivlm.processing_rsunivlm import RSUniVLMProcessor

# Generous ends for answers that do not stop by themselves. The longest mask there is, a checkerboard, takes
# 4 tokens a cell.
MAX_NEW_TOKENS_TEXT = 256
MAX_NEW_TOKENS_BOXES = 128
TOKENS_PER_CELL = 4


@dataclass(frozen=True)
class _Prepared:
    """A request after routing and tokenising."""

    index: int
    request: Request
    route: Route
    expert: int
    pictures: tuple[Image.Image, ...]
    input_ids: list[int]


class RSUniVLM:
    """A loaded checkpoint that answers questions.

    Example:
        >>> model = RSUniVLM.from_pretrained("playground/checkpoints/nano")
        >>> model.ask("scene.png", "[VG] the red vehicle").boxes_px
    """

    def __init__(self, model: RSUniVLMForConditionalGeneration, processor: RSUniVLMProcessor) -> None:
        self.model = model.eval()
        self.processor = processor
        self.box_codec = BoxCodec.from_dict(model.config.box_codec)
        self.mask_codec = MaskCodec.from_dict(model.config.mask_codec)

    @classmethod
    def from_pretrained(
        cls,
        checkpoint: str | os.PathLike[str],
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> Self:
        """Load a checkpoint folder or a hub id.

        Args:
            checkpoint: Folder with `config.json` and safetensors, or a hub id `owner/name`.
            device: By default a GPU where there is one.
            dtype: By default bfloat16 on a GPU and float32 on the CPU.

        Raises:
            ValueError: No configuration, missing or misshapen weights (named), or another architecture.
        """
        model, processor = load_checkpoint(checkpoint, device=device, dtype=dtype)
        return cls(model, processor)

    def ask(
        self,
        images: ImageLike | Sequence[ImageLike],
        prompt: str,
        *,
        task: Task | str | None = None,
        labels: Sequence[str] | None = None,
        max_new_tokens: int | None = None,
    ) -> Answer:
        """Ask one question about an image or a pair.

        Args:
            images: One image (path, bytes or picture) or two, before and after.
            prompt: The question, with or without a task token.
            task: Overrides the router, e.g. `"vg"`.
            labels: Classes a mask may hold; by default those the answer names.
            max_new_tokens: Limit of the answer's length.

        Raises:
            ValueError: See `answer_batch`.
        """
        several = (images,) if isinstance(images, str | Path | bytes | Image.Image) else tuple(images)
        request = Request(several, prompt, task, labels)
        return self.answer_batch([request], max_new_tokens=max_new_tokens)[0]

    def answer_batch(
        self,
        requests: Sequence[Request],
        *,
        batch_size: int = 16,
        max_new_tokens: int | None = None,
    ) -> list[Answer]:
        """Answer requests of any mix of tasks, greedily.

        Args:
            requests: The questions.
            batch_size: Rows decoded together.
            max_new_tokens: Limit for every answer; by default one that fits the kind of answer.

        Returns:
            Answers in the order of the requests.

        Raises:
            ValueError: An image cannot be read, the number of images does not fit the task, the prompt
                holds image marks that do not match, or a task is unknown.
        """
        answers: list[Answer | None] = [None] * len(requests)
        prepared = [self._prepare(index, request) for index, request in enumerate(requests)]
        for batch in _batches(prepared, batch_size):
            kind = batch[0].route.task.answer_kind
            limit = max_new_tokens or self._token_limit(kind)
            for item, (text, finished) in zip(batch, self._generate(batch, limit), strict=True):
                answers[item.index] = self._decode(item, text, finished)
        return [answer for answer in answers if answer is not None]

    def _prepare(self, index: int, request: Request) -> _Prepared:
        if not 1 <= len(request.images) <= 2:
            raise ValueError(f"give one image, or two for a change task; got {len(request.images)}")
        marks = request.prompt.count(IMAGE_MARK)
        if marks not in (0, len(request.images)):
            raise ValueError(
                f"the prompt has {marks} <image> marks but {len(request.images)} images were given: "
                f"{request.prompt!r}"
            )
        chosen = route(request.prompt, num_images=len(request.images), task=request.task)
        if chosen.task.num_images != len(request.images) and chosen.task is not Task.VQA:
            raise ValueError(
                f"task {chosen.task} ({chosen.task.token}) looks at {chosen.task.num_images} image(s), "
                f"{len(request.images)} were given: {request.prompt!r}"
            )
        prompt = with_token(request.prompt.replace(IMAGE_MARK, "").strip(), chosen.task)
        ids, _ = self.processor.encode_conversation([(prompt, None)], len(request.images))
        pictures = tuple(open_image(image) for image in request.images)
        return _Prepared(index, request, chosen, self.processor.expert_of(chosen.task, prompt), pictures, ids)

    @torch.inference_mode()
    def _generate(self, batch: Sequence[_Prepared], max_new_tokens: int) -> list[tuple[str, bool]]:
        inputs = self.processor.pad_left([item.input_ids for item in batch])
        pictures = [picture for item in batch for picture in item.pictures]
        experts = [item.expert for item in batch]
        splits = tuple(experts.count(expert) for expert in range(self.model.config.num_experts))
        output_BL = self.model.generate(
            **{name: tensor.to(self.model.device) for name, tensor in inputs.items()},
            pixel_values=self.processor.preprocess_images(pictures).to(self.model.device, self.model.dtype),
            expert_ids=torch.tensor(experts),
            expert_splits=splits if self.model.config.num_experts > 1 else None,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            eos_token_id=self.processor.end_token_id,
            pad_token_id=self.processor.tokenizer.pad_token_id,
        )
        results = []
        for row in output_BL[:, inputs["input_ids"].shape[1] :].tolist():
            finished = self.processor.end_token_id in row
            tokens = row[: row.index(self.processor.end_token_id)] if finished else row
            results.append((self.processor.tokenizer.decode(tokens, skip_special_tokens=True), finished))
        return results

    def _token_limit(self, kind: str) -> int:
        if kind == "mask":
            return TOKENS_PER_CELL * self.mask_codec.grid**2
        return MAX_NEW_TOKENS_BOXES if kind == "boxes" else MAX_NEW_TOKENS_TEXT

    def _decode(self, item: _Prepared, text: str, finished: bool) -> Answer:
        return read_answer(
            text,
            item.route,
            item.pictures[-1].size,
            box_codec=self.box_codec,
            mask_codec=self.mask_codec,
            labels=item.request.labels,
            finished=finished,
        )


def _batches(prepared: Sequence[_Prepared], batch_size: int) -> Iterator[list[_Prepared]]:
    """Rows of one kind of answer, sorted by expert and length."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    for kind in ("text", "boxes", "mask"):
        rows = [item for item in prepared if item.route.task.answer_kind == kind]
        rows.sort(key=lambda item: (item.expert, len(item.input_ids), item.index))
        for start in range(0, len(rows), batch_size):
            yield rows[start : start + batch_size]
