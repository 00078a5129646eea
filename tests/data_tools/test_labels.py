"""Class names become words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_tools.labels import class_key, class_words


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("DenseResidential", "dense residential"),
        ("storage_tank", "storage tank"),
        ("low-vegetation", "low vegetation"),
        ("T junction", "t junction"),
        ("footballField", "football field"),
        ("railwaystation", "railway station"),
        ("golffield", "golf field"),
        ("groundtrackfield", "ground track field"),
        ("single-unit_residential", "single unit residential"),
        ("Straße", "straße"),
        ("class1", "class 1"),
    ],
)
def test_class_names_become_lower_case_words(name: str, words: str) -> None:
    assert class_words(name) == words


def test_a_name_without_letters_is_refused() -> None:
    with pytest.raises(ValueError, match="no letters"):
        class_words("_-")


@pytest.mark.parametrize("name", ["idle_land", "Idle Land", "idleland", "idleLand", "IDLE-LAND"])
def test_spellings_of_a_class_have_one_key(name: str) -> None:
    assert class_key(name) == "idleland"


@given(st.from_regex(r"[A-Z]?[a-z]+([ _-]?[A-Z]?[a-z]+)*", fullmatch=True))
def test_words_and_name_have_one_key(name: str) -> None:
    assert class_key(class_words(name)) == class_key(name)
