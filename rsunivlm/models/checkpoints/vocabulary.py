"""Tokenizer and vocabulary of an imported model.

The rows of the word embedding are the tensor's, never the tokenizer's: files of the same model have 151,646,
151,647, 151,936 or 152,000. What the model needs beyond the source is one token, `<image>`. Qwen2's tokenizer
ends at 151,645, so that it gets the id of the released model, 151,646.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast, Qwen2Tokenizer

from rsunivlm.models.chat import END
from rsunivlm.models.checkpoints.files import read_json
from rsunivlm.models.checkpoints.reading import first_line
from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMConfig
from rsunivlm.tasks import IMAGE_MARK

START = "<|im_start|>"
PADDING = "<|endoftext|>"
_FILES = ("tokenizer.json", "vocab.json")


@dataclass(frozen=True)
class Vocabulary:
    """What the vocabulary became.

    Attributes:
        rows: Of the source's word embedding.
        new_rows: Added behind them, all zero.
        tokens: Of the tokenizer.
        image_token_id: Id of `<image>`.
        image_token_added: Whether the tokenizer lacked it.
    """

    rows: int
    new_rows: int
    tokens: int
    image_token_id: int
    image_token_added: bool


def load_tokenizer(folder: Path) -> tuple[PreTrainedTokenizerBase, bool]:
    """Load a tokenizer and see to the tokens of the chat format and of images.

    Returns:
        The tokenizer, and whether `<image>` was added.

    Raises:
        ValueError: There is none, it is damaged, or it knows no chat.
    """
    if not any((folder / name).is_file() for name in _FILES):
        raise ValueError(
            f"{folder} has no {' or '.join(_FILES)}; name the tokenizer's folder with --tokenizer"
        )
    whole = (folder / "tokenizer.json").is_file()
    for name in ("tokenizer.json", "vocab.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            read_json(folder / name)  # bounds the size and refuses what is no JSON
    try:
        loader = PreTrainedTokenizerFast if whole else Qwen2Tokenizer
        tokenizer: Any = loader.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        # The tokenizers library raises plain `Exception` for files it cannot make sense of.
        if type(error) is not Exception and not isinstance(
            error, OSError | ValueError | KeyError | TypeError
        ):
            raise
        raise ValueError(f"{folder}: the tokenizer cannot be loaded ({first_line(error)})") from error
    known = tokenizer.get_vocab()
    for token in (START, END):
        if token not in known:
            raise ValueError(
                f"{folder}: the tokenizer has no {token}; take that of Qwen2 or Qwen2.5 with --tokenizer"
            )
    added = IMAGE_MARK not in known
    tokenizer.add_special_tokens(
        {
            "eos_token": END,
            "pad_token": PADDING if PADDING in known else END,
            "extra_special_tokens": [START, IMAGE_MARK],
        },
        replace_extra_special_tokens=False,
    )
    tokenizer.chat_template = None  # the processor has it
    return tokenizer, added


def fit_vocabulary(config: RSUniVLMConfig, tokenizer: PreTrainedTokenizerBase, *, added: bool) -> Vocabulary:
    """Set the ids of special tokens and, where a token has none, the rows of the configuration.

    Args:
        config: Its `vocab_size` is that of the source's tensor; changed in place.
        tokenizer: From `load_tokenizer`.
        added: Whether `<image>` was added to it.

    Raises:
        ValueError: The tokenizer belongs to another model.
    """
    text, rows = config.text_config, config.text_config.vocab_size
    ids = tokenizer.get_vocab()
    beyond = sorted(token for token, index in ids.items() if index >= rows and token != IMAGE_MARK)
    if beyond:
        raise ValueError(
            f"the tokenizer has {len(beyond)} tokens, such as {beyond[0]!r}, for which the word embedding "
            f"has no row ({rows} rows); name this checkpoint's own tokenizer with --tokenizer"
        )
    config.image_token_id = ids[IMAGE_MARK]
    text.vocab_size = max(rows, ids[IMAGE_MARK] + 1)
    text.pad_token_id = text.bos_token_id = tokenizer.pad_token_id
    text.eos_token_id = tokenizer.eos_token_id
    return Vocabulary(rows, text.vocab_size - rows, len(tokenizer), ids[IMAGE_MARK], added)
