"""Prompts and pictures to RSUniVLM's inputs: the chat format, and the expert that each prompt goes to.

Shapes: B rows, L positions, N images of all rows in order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from transformers import BatchFeature, PreTrainedTokenizerBase
from transformers.image_utils import ImageInput

from rsunivlm.models.chat import END, USER, ChatProcessor
from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMConfig
from rsunivlm.models.rsunivlm.image_processing_rsunivlm import RSUniVLMImageProcessor
from rsunivlm.tasks import IMAGE_MARK, TOKEN_GRANULARITY, Task, route, with_token


class RSUniVLMProcessor(ChatProcessor):
    """Image processor and tokenizer with the chat format, the router and the image placeholders.

    Args:
        image_processor: An `RSUniVLMImageProcessor`.
        tokenizer: A tokenizer that knows `<image>`, `<|im_start|>` and `<|im_end|>` as single tokens; it is
            set to pad on the left, as generation needs.
        chat_template: Defaults to the Qwen 1.5 format.
        num_image_tokens: Placeholder positions of one image (`config.num_image_tokens`).
        image_separator: Text between two image marks (`config.image_separator`).
        task_granularity: Task token -> expert (`config.task_granularity`).
        random_experts_seed: Draw experts at random instead (`config.random_experts_seed`).
    """

    model_input_names = ["input_ids", "attention_mask", "pixel_values", "expert_ids"]

    def __init__(
        self,
        image_processor: RSUniVLMImageProcessor,
        tokenizer: PreTrainedTokenizerBase,
        chat_template: str | None = None,
        num_image_tokens: int = 729,
        image_separator: str = "",
        task_granularity: Mapping[str, int] | None = None,
        random_experts_seed: int | None = None,
    ) -> None:
        self.task_granularity = dict(task_granularity or {k: int(v) for k, v in TOKEN_GRANULARITY.items()})
        self.random_experts_seed = random_experts_seed
        super().__init__(
            image_processor,
            tokenizer,
            chat_template=chat_template,
            num_image_tokens=num_image_tokens,
            image_separator=image_separator,
        )

    @classmethod
    def for_config(cls, config: RSUniVLMConfig, tokenizer: PreTrainedTokenizerBase) -> Self:
        """The processor of a model with this configuration."""
        return cls(
            RSUniVLMImageProcessor.for_config(config.vision_config),
            tokenizer,
            num_image_tokens=config.num_image_tokens,
            image_separator=config.image_separator,
            task_granularity=config.task_granularity,
            random_experts_seed=config.random_experts_seed,
        )

    def expert_of(self, task: Task, name: str) -> int:
        """The expert that a sample runs through in this checkpoint.

        That of the task's granularity; or, in the control that asks whether granularity matters, one drawn at
        random for the sample's name, the same for all who ask.

        Args:
            task: The sample's task.
            name: In training dataset and record; in use the prompt. Experts that each learnt from a random
                third of the samples are interchangeable, so the two need not agree.
        """
        if self.random_experts_seed is None:
            return self.task_granularity[task.token]
        drawn = hashlib.sha256(f"{self.random_experts_seed} {name}".encode()).digest()
        return int.from_bytes(drawn[:8]) % (max(self.task_granularity.values()) + 1)

    def __call__(
        self,
        images: ImageInput | None = None,
        text: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Batch rendered chats (see `apply_chat_template`) and their images for generation.

        Args:
            images: One picture, a flat list in the order of the marks, or one list per row; pictures, arrays,
                paths or URLs.
            text: One rendered chat or several, each with one `<image>` mark per image.
            **kwargs: Options of `ProcessorMixin.__call__`, e.g. `padding` (the default is to the longest row,
                on the left), `return_tensors` (default `"pt"`), `return_offsets_mapping`.

        Returns:
            `input_ids`, `attention_mask` [B, L], `expert_ids` [B], and `pixel_values` [N, 3, H, W] if there
            are images.

        Raises:
            ValueError: Image marks and images differ in number, or there is no text.
        """
        chats, batch = self.batch_chats(images, text, **kwargs)
        ids = batch["input_ids"]
        rows = ids if isinstance(ids, list) else ids.tolist()
        experts = [
            self._expert_of_chat(chat, row.count(self.image_token_id) // self.num_image_tokens)
            for chat, row in zip(chats, rows, strict=True)
        ]
        batch["expert_ids"] = torch.tensor(experts) if isinstance(ids, torch.Tensor) else experts
        return batch

    def _expert_of_chat(self, chat: str, num_images: int) -> int:
        """The last user turn decides which expert reads the whole history."""
        last_turn = chat.rpartition(USER)[2].partition(END)[0]
        task = route(last_turn, num_images=num_images).task
        return self.expert_of(task, with_token(last_turn.replace(IMAGE_MARK, "").strip(), task))
