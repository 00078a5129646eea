"""The chat format that the model families share: prompts and pictures to token ids, answers to labels.

Training and generation share it. A conversation is tokenised in pieces cut where an answer begins, so that
the model is trained on exactly the tokens it will see before it generates.

Chat format (Qwen 1.5): a system block once, then user and assistant blocks; image marks come first in the
first user block. Shapes: B rows, L positions, N images of all rows in order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from transformers import BatchFeature, PreTrainedTokenizerBase, ProcessorMixin
from transformers.image_utils import ImageInput
from transformers.processing_utils import MultiModalData

from rsunivlm.models.chat_template import chat_template as default_chat_template
from rsunivlm.tasks import IMAGE_MARK, with_images

SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
USER = "<|im_start|>user\n"
ASSISTANT = "<|im_end|>\n<|im_start|>assistant\n"
END = "<|im_end|>"
IGNORED = -100  # label of positions without loss

# Rows end where answers begin, and the chat template writes all control tokens itself.
_TEXT_DEFAULTS = {
    "return_tensors": "pt", "padding": True, "padding_side": "left", "add_special_tokens": False
}  # fmt: skip


class ChatProcessor(ProcessorMixin):
    """Image processor and tokenizer with the chat format and the image placeholders; families build on it.

    Args:
        image_processor: An `RSUniVLMImageProcessor`.
        tokenizer: A tokenizer that knows `<image>`, `<|im_start|>` and `<|im_end|>` as single tokens; it is
            set to pad on the left, as generation needs.
        further: More parts that the family's own constructor names, in its order.
        chat_template: Defaults to the Qwen 1.5 format.
        num_image_tokens: Placeholder positions of one image (`config.num_image_tokens`).
        image_separator: Text between two image marks (`config.image_separator`).
    """

    def __init__(
        self,
        image_processor: Any,
        tokenizer: PreTrainedTokenizerBase,
        *further: Any,
        chat_template: str | None,
        num_image_tokens: int,
        image_separator: str,
    ) -> None:
        self.num_image_tokens = num_image_tokens
        self.image_separator = image_separator
        self.image_token = IMAGE_MARK
        self.image_token_id = _single_token(tokenizer, IMAGE_MARK)
        self.end_token_id = _single_token(tokenizer, END)
        # Words that would change the structure of the chat if they came from a user.
        self._control = re.compile("|".join(re.escape(token) for token in tokenizer.all_special_tokens))
        tokenizer.padding_side = "left"  # the pipelines of transformers batch by this
        template = chat_template or default_chat_template(image_separator)
        super().__init__(image_processor, tokenizer, *further, chat_template=template)

    def preprocess_images(self, pictures: Sequence[Image.Image]) -> torch.Tensor:
        """Pixel values [N, 3, H, W] in float32 of pictures of any sizes."""
        pixels: torch.Tensor = self.image_processor(pictures)["pixel_values"]
        return pixels

    def text_of(self, tokens: Sequence[int]) -> str:
        """What tokens spell, control tokens left out."""
        text: str = self.tokenizer.decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def encode_conversation(
        self, turns: Sequence[tuple[str, str | None]], num_images: int
    ) -> tuple[list[int], list[int]]:
        """Tokenise a conversation about `num_images` images.

        Args:
            turns: Prompt (without image marks) and answer of each turn. The last answer may be None: the
                ids then end where generation begins.
            num_images: Image marks to put into the first turn.

        Returns:
            Token ids, with each image mark repeated `num_image_tokens` times, and labels: the ids of the
            answers and of the `<|im_end|>` behind each, -100 elsewhere.

        Raises:
            ValueError: A prompt or an answer holds image marks or control tokens of the chat format.
        """
        input_ids: list[int] = []
        labels: list[int] = []
        for index, (prompt, answer) in enumerate(turns):
            self.check_words(prompt, answer or "")
            opening = SYSTEM + USER if index == 0 else "\n" + USER
            images = num_images if index == 0 else 0
            context = opening + with_images(prompt, images, self.image_separator) + ASSISTANT
            context_ids = self._expand_images(self._tokenize(context))
            input_ids += context_ids
            labels += [IGNORED] * len(context_ids)
            if answer is not None:
                answer_ids = [*self._tokenize(answer), self.end_token_id]
                input_ids += answer_ids
                labels += answer_ids
        return input_ids, labels

    def check_words(self, *texts: str) -> None:
        """Refuse texts that would change the structure of the chat.

        Raises:
            ValueError: A text holds image marks or control tokens.
        """
        for text in texts:
            if found := self._control.search(text):
                raise ValueError(f"the text holds the control token {found.group()!r}: {text[:80]!r}")

    def image_prefix(self, num_images: int) -> int:
        """Tokens that all conversations about the same images begin with: up to their last placeholder."""
        ids, _ = self.encode_conversation([("", None)], num_images)
        return len(ids) - ids[::-1].index(self.image_token_id)

    def pad_left(self, rows: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        """Batch prompts for generation: padding on the left, so that all rows end where answers begin.

        Returns:
            `input_ids` and `attention_mask`, both [B, L].
        """
        padded, mask = pad_rows(rows, self.tokenizer.pad_token_id, left=True)
        return {"input_ids": padded, "attention_mask": mask}

    def batch_chats(
        self, images: ImageInput | None, text: str | Sequence[str] | None, **kwargs: Any
    ) -> tuple[list[str], BatchFeature]:
        """Batch rendered chats (see `apply_chat_template`) and their images for generation.

        Args:
            images: One picture, a flat list in the order of the marks, or one list per row; pictures, arrays,
                paths or URLs.
            text: One rendered chat or several, each with one `<image>` mark per image.
            **kwargs: Options of `ProcessorMixin.__call__`, e.g. `padding` (the default is to the longest row,
                on the left), `return_tensors` (default `"pt"`), `return_offsets_mapping`.

        Returns:
            The chats as a list; `input_ids`, `attention_mask` [B, L], and `pixel_values` [N, 3, H, W] if
            there are images.

        Raises:
            ValueError: Image marks and images differ in number, or there is no text.
        """
        if text is None:
            raise ValueError("give the text of the prompt")
        chats = [text] if isinstance(text, str) else list(text)
        pictures = self.image_processor.fetch_images(_flat(images))
        marks = sum(chat.count(IMAGE_MARK) for chat in chats)
        # Where users' words are told apart from marks, transformers counts.
        if marks != len(pictures) and not kwargs.get("sanitize_control_tokens"):
            raise ValueError(
                f"the text has {marks} <image> marks, {len(pictures)} images were given; "
                "apply_chat_template puts the marks where they belong"
            )
        defaults = {key: value for key, value in _TEXT_DEFAULTS.items() if key not in kwargs}
        kwargs["text_kwargs"] = {**defaults, **kwargs.get("text_kwargs", {})}
        return chats, super().__call__(images=pictures or None, text=chats, **kwargs)

    def replace_image_token(self, image_inputs: Mapping[str, Any], image_idx: int, **_: Any) -> str:
        """The text that stands for one image once its placeholders are counted out."""
        return IMAGE_MARK * self.num_image_tokens

    def _get_num_multimodal_tokens(
        self, image_sizes: Sequence[Any] | None = None, **_: Any
    ) -> MultiModalData:
        """Placeholder counts for serving engines; every image takes the same number."""
        if image_sizes is None:
            return MultiModalData()
        count = len(image_sizes)
        return MultiModalData(num_image_tokens=[self.num_image_tokens] * count, num_image_patches=[1] * count)

    def _tokenize(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids

    def _expand_images(self, ids: list[int]) -> list[int]:
        expanded: list[int] = []
        for token in ids:
            expanded += [token] * (self.num_image_tokens if token == self.image_token_id else 1)
        return expanded


def pad_rows(
    rows: Sequence[Sequence[int]], pad_token_id: int, *, left: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of one length: token ids and mask, both [B, L]."""
    length = max(map(len, rows))
    padded, mask = [], []
    for row in rows:
        gap, real = [pad_token_id] * (length - len(row)), list(row)
        padded.append(gap + real if left else real + gap)
        ones, zeros = [1] * len(real), [0] * len(gap)
        mask.append(zeros + ones if left else ones + zeros)
    return torch.tensor(padded), torch.tensor(mask)


def _single_token(tokenizer: PreTrainedTokenizerBase, token: str) -> int:
    index = tokenizer.convert_tokens_to_ids(token)
    if index is None or index == tokenizer.unk_token_id:
        raise ValueError(f"the tokenizer has no token {token!r}; add it to the vocabulary first")
    return int(index)


def _flat(images: Any) -> list[Any]:
    """Pictures of all rows in order, from one, a list, or a list per row."""
    if isinstance(images, (list, tuple)):
        return [picture for item in images for picture in _flat(item)]
    return [] if images is None else [images]
