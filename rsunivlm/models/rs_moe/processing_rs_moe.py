"""Instructions and pictures to RS-MoE's inputs: rows of one image, one prompt and one expert.

The chat format is that of the other family. Beside the language model's tokens a row has the text that the
Q-Former reads, in its own vocabulary (BERT's, for InstructBLIP's weights; any tokenizer will do for others),
and the user's instruction, which the router makes its soft tokens of.

Shapes: B rows, L positions, N images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from PIL import Image
from transformers import BatchFeature, PreTrainedTokenizerBase

from rsunivlm.models.chat import END, IGNORED, USER, ChatProcessor, pad_rows
from rsunivlm.models.rs_moe.configuration_rs_moe import RSMoEConfig
from rsunivlm.models.rs_moe.experts import NO_EXPERT
from rsunivlm.models.rsunivlm.image_processing_rsunivlm import RSUniVLMImageProcessor
from rsunivlm.tasks import IMAGE_MARK, without_token

QFORMER_LENGTH = 128  # tokens, as in InstructBLIP


@dataclass(frozen=True)
class ExpertRow:
    """One row of a batch.

    Attributes:
        input_ids: Of the language model, placeholders counted out.
        labels: The ids on the answer and its end, -100 elsewhere.
        qformer_ids: What the Q-Former reads.
        instruction_ids: The user's instruction in the language model's vocabulary.
        expert_id: Expert of the row, or `NO_EXPERT`.
    """

    input_ids: list[int]
    labels: list[int]
    qformer_ids: list[int]
    instruction_ids: list[int]
    expert_id: int


class RSMoEProcessor(ChatProcessor):
    """Image processor and the tokenizers of language model and Q-Former.

    Args:
        image_processor: An `RSUniVLMImageProcessor`.
        tokenizer: Of the language model; knows `<image>`, `<|im_start|>` and `<|im_end|>` as single tokens.
        qformer_tokenizer: Of the Q-Former.
        chat_template: Defaults to the Qwen 1.5 format.
        num_image_tokens: Placeholder positions of one image (`config.num_image_tokens`).
        num_soft_tokens: Further ones in the rows of experts (`config.num_soft_tokens`; 0 without).
        qformer_text: `config.qformer_text`.

    Raises:
        ValueError: A tokenizer has no pad token, or the first lacks a token of the chat format.
    """

    model_input_names = [
        "input_ids",
        "attention_mask",
        "pixel_values",
        "expert_ids",
        "qformer_input_ids",
        "qformer_attention_mask",
        "instruction_input_ids",
        "instruction_attention_mask",
    ]

    def __init__(
        self,
        image_processor: RSUniVLMImageProcessor,
        tokenizer: PreTrainedTokenizerBase,
        qformer_tokenizer: PreTrainedTokenizerBase,
        chat_template: str | None = None,
        num_image_tokens: int = 32,
        num_soft_tokens: int = 0,
        qformer_text: Literal["prompt", "instruction"] = "prompt",
    ) -> None:
        for part, given in (("language model", tokenizer), ("Q-Former", qformer_tokenizer)):
            if given.pad_token_id is None:
                raise ValueError(
                    f"the tokenizer of the {part} ({given.name_or_path or type(given).__name__}) has no pad "
                    "token; set one, e.g. tokenizer.pad_token = tokenizer.eos_token"
                )
        self.num_soft_tokens = num_soft_tokens
        self.qformer_text = qformer_text
        super().__init__(
            image_processor,
            tokenizer,
            qformer_tokenizer,
            chat_template=chat_template,
            num_image_tokens=num_image_tokens,
            image_separator="",
        )

    @classmethod
    def for_config(
        cls,
        config: RSMoEConfig,
        tokenizer: PreTrainedTokenizerBase,
        qformer_tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> RSMoEProcessor:
        """The processor of a model.

        Args:
            config: Of the model.
            tokenizer: Of the language model.
            qformer_tokenizer: Of the Q-Former; None takes the language model's.

        Raises:
            ValueError: See `RSMoEProcessor`; or the Q-Former's vocabulary is too small for its tokenizer.
        """
        qformer_tokenizer = qformer_tokenizer or tokenizer
        if len(qformer_tokenizer) > config.qformer_config.vocab_size:
            raise ValueError(
                f"the Q-Former's tokenizer has {len(qformer_tokenizer)} tokens, its vocabulary "
                f"(qformer_config.vocab_size) {config.qformer_config.vocab_size}"
            )
        return cls(
            RSUniVLMImageProcessor.for_config(config.vision_config),
            tokenizer,
            qformer_tokenizer,
            num_image_tokens=config.num_image_tokens,
            num_soft_tokens=config.num_soft_tokens if config.has_soft_tokens else 0,
            qformer_text=config.qformer_text,
        )

    def encode_row(
        self, prompt: str, answer: str | None = None, *, instruction: str, expert: int = NO_EXPERT
    ) -> ExpertRow:
        """Tokenise one prompt about one image.

        Args:
            prompt: What the language model is told, see `rsunivlm.models.rs_moe.router.expert_prompts`.
            answer: What it is to say; None ends the row where generation begins.
            instruction: What the user said, without a task token.
            expert: Of the row.

        Raises:
            ValueError: There is no instruction, a text holds control tokens, or what the Q-Former reads is
                too long.
        """
        if not instruction.strip():
            raise ValueError("say what you want to know about the image: the instruction is empty")
        self.check_words(instruction)
        input_ids, labels = self.encode_conversation([(prompt, answer)], 1)
        if expert != NO_EXPERT:
            behind = len(input_ids) - input_ids[::-1].index(self.image_token_id)
            input_ids[behind:behind] = [self.image_token_id] * self.num_soft_tokens
            labels[behind:behind] = [IGNORED] * self.num_soft_tokens
        seen = prompt if self.qformer_text == "prompt" and expert != NO_EXPERT else instruction
        qformer_ids = self.qformer_tokenizer.encode(seen)
        if len(qformer_ids) > QFORMER_LENGTH:
            raise ValueError(
                f"the Q-Former reads {QFORMER_LENGTH} tokens, this text has {len(qformer_ids)}: {seen[:80]!r}"
            )
        return ExpertRow(input_ids, labels, qformer_ids, self._tokenize(instruction), expert)

    def batch_rows(self, rows: Sequence[ExpertRow]) -> dict[str, torch.Tensor]:
        """Batch rows for generation, padded on the left.

        Returns:
            `input_ids`, `attention_mask` [B, L], `expert_ids` [B], and what `batch_texts` gives.
        """
        batch = self.pad_left([row.input_ids for row in rows])
        return batch | self.batch_texts(rows)

    def batch_texts(self, rows: Sequence[ExpertRow]) -> dict[str, torch.Tensor]:
        """The inputs beside the language model's, padded on the right.

        Returns:
            `qformer_input_ids`, `qformer_attention_mask` [B, T], `instruction_input_ids`,
            `instruction_attention_mask` [B, U], `expert_ids` [B].
        """
        batch = {"expert_ids": torch.tensor([row.expert_id for row in rows])}
        for name, ids, tokenizer in (
            ("qformer", [row.qformer_ids for row in rows], self.qformer_tokenizer),
            ("instruction", [row.instruction_ids for row in rows], self.tokenizer),
        ):
            padded, mask = pad_rows(ids, tokenizer.pad_token_id, left=False)
            batch |= {f"{name}_input_ids": padded, f"{name}_attention_mask": mask}
        return batch

    def __call__(
        self,
        images: Image.Image | Sequence[Image.Image] | Sequence[Sequence[Image.Image]] | None = None,
        text: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Batch rendered chats about one image each for the language model of stage I.

        The experts' rows, and what becomes of drafts, are the predictor's (`rsunivlm.inference.rs_moe`).

        Args:
            images: One picture, or one per chat.
            text: One rendered chat or several (see `apply_chat_template`), each with one `<image>` mark.
            **kwargs: Accepted for compatibility with transformers' callers; padding is always on the left.

        Raises:
            ValueError: A chat has not one image, or there is no text.
        """
        chats, batch = self.batch_chats(images, text)
        if any(chat.count(IMAGE_MARK) != 1 for chat in chats):
            raise ValueError("RS-MoE looks at one image: give each chat one <image> mark")
        asked = [
            without_token(chat.rpartition(USER)[2].partition(END)[0].replace(IMAGE_MARK, "").strip())
            for chat in chats
        ]
        rows = [self.encode_row(words, instruction=words) for words in asked]
        return BatchFeature(batch | self.batch_texts(rows))
