"""Captions of drafts, by hand and by property."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from rsunivlm.models.rs_moe.aggregation import best_of, concatenate, vote


def test_a_sentence_is_said_once() -> None:
    drafts = ["An airport. It has 2 runways!", "Two planes stand there. an  airport", "It has 2 runways"]
    assert concatenate(drafts) == "An airport. It has 2 runways! Two planes stand there."
    assert concatenate(["a pond", "", "..."]) == "a pond."


@given(st.lists(st.text(alphabet="ab .!?\n", max_size=30), max_size=4))
def test_nothing_is_lost_and_nothing_changes_when_repeated(drafts: list[str]) -> None:
    caption = concatenate(drafts)
    assert set(re.findall(r"\w+", " ".join(drafts))) == set(re.findall(r"\w+", caption))
    assert concatenate([caption]) == caption
    assert concatenate([*drafts, caption]) == caption


def test_the_best_draft_is_the_likeliest() -> None:
    assert best_of([-2.0, -0.5, -0.5]) == 1


def test_most_drafts_win_and_the_likeliest_where_they_are_as_many() -> None:
    assert vote(["Yes.", "no", "yes"], [-3.0, -0.1, -2.0]) == 2
    assert vote(["urban", "rural"], [-0.7, -0.2]) == 1
    assert vote(["no", "yes", "yes", "No"], [-0.4, -0.3, -0.9, -0.2]) == 3
