"""Train a small tokenizer for models that do not start from Qwen2, such as `nano`.

Byte-level BPE, so that any prompt can be written, with two properties that small models need: each number
0..100 is one token (box coordinates and run lengths become one decision each; the text stays the same), and
so is the separator of runs and coordinates. The chat's control tokens are those of Qwen2.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from rsunivlm.data.records import read_records
from rsunivlm.tasks import IMAGE_MARK, TEMPLATES

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", IMAGE_MARK)
# Pieces that merges never cross: a task token, the separator, a line end, a number up to 100, a word with its
# space, anything else.
PIECES = r"\[[A-Z]+\]|, |\n|100|[1-9]?[0-9]| ?\p{L}+| ?[^\s\p{L}\p{N}]|\s"
# Numbers, the words of the chat format and the prompt templates are in every sample, whatever the records
# hold; they are repeated so that their merges come first.
FIXED_TEXT_WEIGHT = 2_000
CHAT_WORDS = "system user assistant You are a helpful assistant."


def train_tokenizer(texts: Iterable[str], vocab_size: int, out: Path, max_length: int = 4096) -> int:
    """Train and save a tokenizer folder that transformers loads.

    Args:
        texts: Prompts and answers.
        vocab_size: Upper bound of the vocabulary, control tokens included.
        out: Folder to write.
        max_length: `model_max_length` to store.

    Returns:
        The size of the vocabulary.

    Raises:
        ValueError: The vocabulary is too small for all bytes, numbers and control tokens.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_with_fixed_text(texts), trainer)
    lacking = [number for number in range(101) if len(tokenizer.encode(str(number)).ids) != 1]
    if lacking:
        raise ValueError(
            f"a vocabulary of {vocab_size} is too small: the numbers {lacking[:5]} ... are no tokens"
        )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>", IMAGE_MARK],
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    fast.save_pretrained(partial)
    out.mkdir(parents=True, exist_ok=True)
    # tokenizer.json last: a folder that has it is complete.
    for file in sorted(partial.iterdir(), key=lambda file: file.name == "tokenizer.json"):
        os.replace(file, out / file.name)
    partial.rmdir()
    return len(fast)


def record_texts(paths: Iterable[Path]) -> Iterator[str]:
    """Prompts and answers of record files."""
    for path in paths:
        for record in read_records(path):
            for turn in record.turns:
                yield turn.prompt
                yield turn.answer


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `tokenizer` command."""
    parser = subparsers.add_parser("tokenizer", help="train a small tokenizer on record files")
    parser.add_argument("records", nargs="+", type=Path, help="record files (.jsonl)")
    parser.add_argument("--out", required=True, type=Path, help="folder to write")
    parser.add_argument("--vocab-size", type=int, default=2048)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the `tokenizer` command."""
    size = train_tokenizer(record_texts(args.records), args.vocab_size, args.out)
    print(f"{args.out}: {size} tokens")  # noqa: T201


def _with_fixed_text(texts: Iterable[str]) -> Iterator[str]:
    numbers = " ".join(str(number) for number in range(101))
    templates = [template for group in TEMPLATES.values() for template in group]
    for _ in range(FIXED_TEXT_WEIGHT):
        yield from (numbers, numbers, numbers)
        yield CHAT_WORDS
        yield from templates
    yield from texts
