"""Captions as sentences, and their split into theme, objects and relations."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsunivlm.captions import (
    PARTS,
    join_captions,
    join_parts,
    sentences,
    split_at_random,
    split_caption,
    tells_relation,
)

WORD = ["road", "trees", "near", "beside", "green", "houses", "many", "a", "between"]
WORDS = st.text("abcXYZ019'-,;", min_size=1, max_size=6)
TEXTS = st.lists(st.one_of(WORDS, st.sampled_from([".", "!", "...", "near", "a.", "e.g.", "\n", " "]))).map(
    " ".join
)
SAID = TEXTS.filter(lambda text: any(letter.isalnum() for letter in text))
# Captions whose sentences all end in a stop, so that they stay apart in whatever order they are joined.
STOPPED = st.lists(
    st.lists(st.sampled_from(WORD), min_size=2, max_size=6).map(lambda words: " ".join(words) + " ."),
    min_size=1,
    max_size=6,
).map(" ".join)


def test_a_stop_ends_a_sentence_but_not_a_number_or_an_abbreviation() -> None:
    assert sentences("a road . many trees are near it .") == ["a road .", "many trees are near it ."]
    assert sentences("It is 3.5 m wide. Vehicles, e.g. cars, stand there! How many?") == [
        "It is 3.5 m wide.",
        "Vehicles, e.g. cars, stand there!",
        "How many?",
    ]
    assert sentences("An L. It has no stop\nnext line") == ["An L.", "It has no stop", "next line"]
    assert sentences('He said "a road." . Trees ...') == ['He said "a road." .', "Trees ..."]
    assert sentences(" \n ") == []


def test_the_first_sentence_is_the_theme_and_the_lexicon_tells_relations() -> None:
    caption = (
        "This is an airport near a river. There are four planes. Two roads cross behind the hall. "
        "A hall stands in the upper left corner of the image."
    )
    assert split_caption(caption) == {
        "theme": "This is an airport near a river.",
        "objects": "There are four planes. A hall stands in the upper left corner of the image.",
        "relations": "Two roads cross behind the hall.",
    }
    assert split_caption("many trees near a road .") == {
        "theme": "many trees near a road .",
        "objects": "",
        "relations": "",
    }


@pytest.mark.parametrize(
    ("sentence", "tells"),
    [
        ("a bridge on a river with fields on one side and trees on the other .", True),
        ("on the left side of the road are trees .", True),
        ("The plane is parked parallel to the runway.", True),
        ("There is a small body of water near a river in the center of the image.", True),
        ("A structure stands in the image's top left.", False),
        ("The river runs through the center of the image.", False),
        ("On the right side of the image is a large pond.", False),
        ("many roundabouts and overpasses .", False),
    ],
)
def test_places_in_the_picture_are_no_relations(sentence: str, tells: bool) -> None:
    assert tells_relation(sentence) is tells


@given(SAID, st.integers(0, 9))
def test_both_splits_are_partitions_that_keep_order(caption: str, seed: int) -> None:
    whole = sentences(caption)
    assert "".join(caption.split()) == "".join("".join(whole).split())
    for parts in (split_caption(caption), split_at_random(caption, "key", seed)):
        assert tuple(parts) == PARTS
        told = sum((Counter(part.split()) for part in parts.values()), Counter())
        assert told == Counter(caption.split())
        for part in parts.values():  # the words of a part stand in the caption in the same order
            words = iter(caption.split())
            assert all(word in words for word in part.split())
    assert split_caption(caption)["theme"] == whole[0]


@given(STOPPED)
def test_splitting_the_joined_parts_gives_the_parts_again(caption: str) -> None:
    parts = split_caption(caption)
    assert split_caption(join_parts(parts)) == parts


@given(SAID)
def test_a_random_split_depends_on_key_and_seed_alone(caption: str) -> None:
    assert split_at_random(caption, "one") == split_at_random(caption, "one", 0)


def test_a_random_split_deals_evenly() -> None:
    counts = Counter(
        name for key in range(3000) for name, part in split_at_random("a road .", str(key)).items() if part
    )
    assert all(900 < counts[name] < 1100 for name in PARTS)


@pytest.mark.parametrize("empty", ["", " ", ".", "\n...\n"])
def test_a_caption_without_a_word_is_refused(empty: str) -> None:
    for split in (split_caption, lambda text: split_at_random(text, "key")):
        with pytest.raises(ValueError, match="has no word; remove it or fill it in"):
            split(empty)


def test_joining_takes_each_sentence_once() -> None:
    assert join_captions(["a road . ", "trees .", "a road ."]) == "a road . trees ."
    assert join_captions(["a road . trees .", "trees .", "a car ."]) == "a road . trees . a car ."
