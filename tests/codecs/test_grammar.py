"""Grammars against the codecs: all their texts and no others, in the tokenizer's own tokens."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from rsunivlm.codecs import BoxCodec, MaskCodec
from rsunivlm.codecs.automaton import Automaton
from rsunivlm.codecs.grammar import box_grammar, choice_grammar, mask_grammar

NANO = Path(__file__).parents[2] / "playground" / "checkpoints" / "nano" / "tokenizer.json"
# How text is split before bytes are merged: Qwen2's rule, every digit on its own; GPT-2's, where digits stay
# together and with the space before them.
SPLITS = {
    "qwen": r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "gpt2": r" ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
}
END = 100_000
LABELS = ["others", "tree", "tree cover", "low vegetation", "(x)", "class 1", "3d, roof", "a<b>", "été", "!a"]


def trained(split: str) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLITS[split]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    words = "others *12| tree *1| low vegetation *20\n others*3, tree cover*11, (x)*10\n</seg> <seg>others"
    texts = [words, "[12, 34, 56, 78], [1, 20, 300, 1000]", "10.25, 99.5], [0.5"] * 20
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


TOKENIZERS = {"nano": Tokenizer.from_file(str(NANO)), "qwen": trained("qwen"), "gpt2": trained("gpt2")}
any_tokenizer = pytest.mark.parametrize("name", TOKENIZERS)
# Tokenizers that cut beside the digits of a count, so that a text has the very tokens of the grammar.
exact_tokenizer = pytest.mark.parametrize("name", ["nano", "qwen"])


def encoder(name: str) -> Callable[[str], list[int]]:
    return lambda text: TOKENIZERS[name].encode(text, add_special_tokens=False).ids


def walk(automaton: Automaton, choice: random.Random, most: int = 100_000) -> list[int]:
    """A random answer without its end token."""
    state, tokens = automaton.start, []
    while not automaton.done(state):
        allowed = automaton.allowed(state)
        assert allowed.size, f"dead end after {tokens}"
        assert (np.diff(allowed) > 0).all()
        assert np.isin(allowed, automaton.vocabulary).all()
        tokens.append(choice.choice(allowed.tolist()))
        state = automaton.step(state, tokens[-1])
    assert tokens.pop() == END
    return tokens


def language(automaton: Automaton, name: str) -> Iterator[str]:
    """Every text that the automaton accepts."""
    paths = [(automaton.start, ())]
    while paths:
        state, tokens = paths.pop()
        if automaton.done(state):
            assert tokens[-1] == END
            yield TOKENIZERS[name].decode(list(tokens[:-1]))
        for token in automaton.allowed(state).tolist():
            paths.append((automaton.step(state, token), (*tokens, token)))


# --- masks ---


@any_tokenizer
@pytest.mark.parametrize("dialect", ["rsunivlm", "text4seg"])
@pytest.mark.parametrize("labels", [["others"], ["others", "tree"], ["others", "tree", "tree cover"]])
def test_the_language_of_a_small_grid_is_the_text_of_every_grid(name, dialect, labels):
    codec = MaskCodec(grid=2, dialect=dialect)
    grids = (np.reshape(ids, (2, 2)) for ids in product(range(len(labels)), repeat=4))
    texts = list(language(mask_grammar(codec, labels, encoder(name), END), name))
    assert sorted(texts) == sorted(codec.grid_to_text(grid, labels) for grid in grids)


masks = st.tuples(
    st.sampled_from([1, 3, 11, 24]),
    st.sampled_from(["rsunivlm", "text4seg"]),
    st.lists(st.sampled_from(LABELS[1:]), max_size=5, unique=True),
    st.randoms(use_true_random=False),
)


@exact_tokenizer
@settings(deadline=None, max_examples=40)
@given(given_mask=masks)
def test_every_encoded_mask_is_accepted_as_the_tokenizer_writes_it(name, given_mask):
    grid, dialect, foreground, choice = given_mask
    labels, codec = ["others", *foreground], MaskCodec(grid=grid, dialect=dialect)
    ids = np.array([[choice.randrange(len(labels)) for _ in range(grid)] for _ in range(grid)])
    ids[choice.random() < np.linspace(0, 1, grid)] = 0  # some rows of one run
    tokens = encoder(name)(codec.grid_to_text(ids, labels))
    automaton = mask_grammar(codec, labels, encoder(name), END)
    assert automaton.accepts([*tokens, END])
    assert not automaton.accepts(tokens)
    assert not automaton.accepts([*tokens, END, END])


@any_tokenizer
@settings(deadline=None, max_examples=40)
@given(given_mask=masks)
def test_whatever_is_accepted_reads_back_clean(name, given_mask):
    grid, dialect, foreground, choice = given_mask
    labels, codec = ["others", *foreground], MaskCodec(grid=grid, dialect=dialect)
    text = TOKENIZERS[name].decode(walk(mask_grammar(codec, labels, encoder(name), END), choice))
    ids, report = codec.text_to_grid(text, labels)
    assert report.clean, report
    assert codec.grid_to_text(ids, labels) == text


@pytest.mark.parametrize(
    "text",
    [
        "others*2",  # a row is missing
        "others*2\nothers*2\nothers*2",
        "others*2\nothers*1",  # counts do not add up
        "others*2\nothers*3",
        "others*2\nothers*1, others*1",  # neighbouring runs alike
        "others*2\nothers*0, tree*2",
        "others*2\nothers*02",
        "others*2\nwater*2",
        "others*2\nothers*2\n",
        "others*2\nothers *2",
        " others*2\nothers*2",
    ],
)
def test_malformed_masks_are_refused(text):
    automaton = mask_grammar(MaskCodec(grid=2), ["others", "tree"], encoder("qwen"), END)
    assert automaton.accepts([*encoder("qwen")("others*2\nothers*1, tree*1"), END])
    assert not automaton.accepts([*encoder("qwen")(text), END])


def test_forced_tokens_run_to_the_next_choice():
    encode = encoder("qwen")
    automaton = mask_grammar(MaskCodec(grid=24), ["others", "tree"], encode, END)

    def forced_after(text: str) -> str:
        state = automaton.start
        for token in encode(text):
            state = automaton.step(state, token)
        return TOKENIZERS["qwen"].decode(list(automaton.forced(state)))

    assert forced_after("others") == "*"
    assert forced_after("others*20") == ", tree*"
    assert forced_after("others*2") == ""  # 2, or 20 to 24
    assert forced_after("others*20, tree*4") == "\n"
    assert forced_after("others*23") == ", tree*1\n"
    state = automaton.start
    for token in encode("\n".join(["others*24"] * 24)):
        state = automaton.step(state, token)
    assert automaton.forced(state) == (END,)
    assert automaton.forced(automaton.step(state, END)) == ()


def test_labels_that_read_alike_are_refused():
    with pytest.raises(ValueError, match="read alike"):
        mask_grammar(MaskCodec(), ["others", "low vegetation", "Low-Vegetation"], encoder("nano"), END)


# --- boxes ---


@any_tokenizer
@pytest.mark.parametrize(("scale", "decimals", "most"), [(3, 0, 1), (1, 1, 1), (2, 0, 2)])
def test_the_language_of_a_small_range_is_every_box(name, scale, decimals, most):
    codec, unit = BoxCodec(range=scale, decimals=decimals), 10**decimals
    sides = [(a, b) for a in range(scale * unit + 1) for b in range(a + 1, scale * unit + 1)]
    boxes = [(x1 / unit, y1 / unit, x2 / unit, y2 / unit) for (x1, x2), (y1, y2) in product(sides, sides)]
    expected = [codec.encode_units(chosen) for n in range(1, most + 1) for chosen in product(boxes, repeat=n)]
    texts = language(box_grammar(codec, encoder(name), END, most), name)
    assert sorted(texts) == sorted(expected)
    assert len(set(expected)) == len(expected)


@exact_tokenizer
@settings(deadline=None, max_examples=40)
@given(
    scale=st.sampled_from([1, 7, 100, 1000]), decimals=st.integers(0, 2), seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 4),
)  # fmt: skip
def test_every_encoded_box_is_accepted_as_the_tokenizer_writes_it(name, scale, decimals, seed, count):
    codec = BoxCodec(range=scale, decimals=decimals)
    corners = np.random.default_rng(seed).uniform(0, scale, (count, 4)) * [1, 1, 1.3, 1.3]
    text = codec.encode_units(corners)
    found = len(codec.decode_units(text)[0])
    automaton = box_automaton(name, scale, decimals)
    tokens = [*encoder(name)(text), END]
    assert automaton.accepts(tokens) == (1 <= found <= 3)


@any_tokenizer
@settings(deadline=None, max_examples=40)
@given(
    scale=st.sampled_from([1, 7, 100, 1000]), decimals=st.integers(0, 2), seed=st.integers(0, 2**32 - 1)
)  # fmt: skip
def test_whatever_box_is_accepted_reads_back_clean(name, scale, decimals, seed):
    codec = BoxCodec(range=scale, decimals=decimals)
    text = TOKENIZERS[name].decode(walk(box_automaton(name, scale, decimals), random.Random(seed)))
    boxes, report = codec.decode_units(text)
    assert report.clean, (text, report)
    assert 1 <= len(boxes) <= 3
    assert codec.encode_units(boxes) == text


_BOX_AUTOMATA: dict[tuple[str, int, int], Automaton] = {}


def box_automaton(name: str, scale: int, decimals: int) -> Automaton:
    """Grammars of up to 3 boxes, built once."""
    key = (name, scale, decimals)
    if key not in _BOX_AUTOMATA:
        codec = BoxCodec(range=scale, decimals=decimals)
        _BOX_AUTOMATA[key] = box_grammar(codec, encoder(name), END, max_boxes=3)
    return _BOX_AUTOMATA[key]


@pytest.mark.parametrize(
    "text",
    ["", "[1, 2, 3]", "[3, 2, 1, 4]", "[1, 2, 3, 2]", "[1, 2, 3, 101]", "[100, 2, 3, 4]", "[01, 2, 3, 4]",
     "[1,2,3,4]", "[1, 2, 3, 4]]", "[1, 2, 3, 4],", "[1.5, 2, 3, 4]"],
)  # fmt: skip
def test_malformed_boxes_are_refused(text):
    automaton = box_automaton("qwen", 100, 0)
    assert automaton.accepts([*encoder("qwen")("[1, 2, 3, 4], [0, 0, 100, 100]"), END])
    assert not automaton.accepts([*encoder("qwen")(text), END])


def test_a_scale_too_fine_to_spell_out_is_refused():
    with pytest.raises(ValueError, match="too fine"):
        box_grammar(BoxCodec(range=1_000_000), encoder("nano"), END, 1)
    with pytest.raises(ValueError, match="max_boxes"):
        box_grammar(BoxCodec(), encoder("nano"), END, 0)


# --- closed lists ---


@any_tokenizer
@pytest.mark.parametrize(
    "choices",
    [["yes", "no"], ["Dense Residential", "Dense", "dense", "airport", "Dense Residential Area"], ["x"]],
)
def test_the_language_of_a_list_is_the_list(name, choices: Sequence[str]):
    automaton = choice_grammar(choices, encoder(name), END)
    assert sorted(language(automaton, name)) == sorted(choices)
    for choice in choices:
        assert automaton.accepts([*encoder(name)(choice), END])


@pytest.mark.parametrize("choices", [[], ["yes", " "]])
def test_an_empty_choice_is_refused(choices):
    with pytest.raises(ValueError, match="choices"):
        choice_grammar(choices, encoder("nano"), END)
