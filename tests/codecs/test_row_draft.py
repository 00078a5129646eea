"""Drafts of mask rows: hand-worked ones, and that every draft is a valid path."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsunivlm.codecs import MaskCodec
from rsunivlm.codecs.grammar import mask_grammar
from rsunivlm.codecs.row_draft import RowDraft

END = 0x110000
LABELS = ["others", "roof", "roofing"]


def encode(text: str) -> list[int]:
    """A tokenizer of single characters."""
    return [ord(character) for character in text]


def decode(tokens: tuple[int, ...]) -> str:
    return "".join(map(chr, tokens))


@pytest.mark.parametrize(
    ("written", "drafted"),
    [
        # Nothing above: background, and a copy of the row.
        ("", "others*12\nothers*12"),
        ("oth", "ers*12\nothers*12"),
        ("others*", "12\nothers*12"),
        ("others*1", "2\nothers*12"),
        # A thing begins: nothing says how wide it is. Once that is written, background follows.
        ("others*3, roof*", ""),
        ("others*3, roof*4", ", others*5\nothers*3, roof*4, others*5"),
        # As above; an edge moved, the other stays; a thing vanished; a label the row above does not have.
        ("others*3, roof*4, others*5\n", "others*3, roof*4, others*5\nothers*3, roof*4, others*5"),
        ("others*3, roof*4, others*5\nothers*2,", " roof*5, others*5\nothers*2, roof*5, others*5"),
        ("others*3, roof*4, others*5\nothers*12", "\nothers*12"),
        ("others*3, roof*4, others*5\nothers*3, roofi", ""),
        # A thing of one cell that slants: its column has passed, its width is kept.
        ("others*3, roof*1, others*8\nothers*5, ", "roof*1, others*6\nothers*5, roof*1, others*6"),
    ],
)
def test_hand_worked_drafts(written, drafted):
    draft = RowDraft(MaskCodec(grid=12), LABELS, encode, rows=1)
    assert decode(draft(encode(written))) == drafted


def test_nothing_is_drafted_beyond_the_last_row():
    text = MaskCodec(grid=3, dialect="text4seg").grid_to_text(np.zeros((3, 3), int), LABELS)
    draft = RowDraft(MaskCodec(grid=3, dialect="text4seg"), LABELS, encode, rows=5)
    assert decode(draft([])) == text.removesuffix("\n</seg>")
    for end in range(len(text) - len("\n</seg>"), len(text)):
        assert draft(encode(text[:end])) == ()


@settings(deadline=None, max_examples=60)
@given(
    grid=st.integers(1, 14),
    dialect=st.sampled_from(["rsunivlm", "text4seg"]),
    num_labels=st.integers(1, 3),
    rows=st.integers(0, 3),
    choice=st.randoms(use_true_random=False),
)
def test_every_draft_is_well_formed_wherever_the_text_stands(grid, dialect, num_labels, rows, choice):
    codec, labels = MaskCodec(grid=grid, dialect=dialect), LABELS[:num_labels]
    automaton, draft = mask_grammar(codec, labels, encode, END), RowDraft(codec, labels, encode, rows=rows)
    state, tokens = automaton.start, []
    while not automaton.done(state):
        ahead = state
        for token in draft(tokens):
            ahead = automaton.step(ahead, token)
        assert not automaton.done(ahead)
        tokens.append(random.Random(choice.random()).choice(automaton.allowed(state).tolist()))
        state = automaton.step(state, tokens[-1])
