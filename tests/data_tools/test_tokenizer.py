from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from data_tools.tokenizer import SPECIAL_TOKENS, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tiny_tokenizer_dir: Path):
    return AutoTokenizer.from_pretrained(tiny_tokenizer_dir)


def test_numbers_and_separators_are_one_token_each(tokenizer) -> None:
    for number in range(101):
        assert len(tokenizer.encode(str(number), add_special_tokens=False)) == 1
    assert tokenizer.tokenize("[7, 45, 100, 0]") == ["[", "7", ",Ġ", "45", ",Ġ", "100", ",Ġ", "0", "]"]
    assert tokenizer.tokenize("others*16\n") == ["others", "*", "16", "Ċ"]


def test_control_tokens_are_single_and_task_tokens_are_text(tokenizer) -> None:
    for token in SPECIAL_TOKENS:
        assert len(tokenizer.encode(token, add_special_tokens=False)) == 1
    assert "[VG]" not in tokenizer.all_special_tokens
    assert tokenizer.pad_token == "<|endoftext|>"
    assert tokenizer.eos_token == "<|im_end|>"


@given(text=st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=60))
def test_any_text_survives(tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_a_vocabulary_too_small_for_the_numbers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="vocabulary of 262 is too small"):
        train_tokenizer(["a"], vocab_size=262, out=tmp_path)
