"""Class names become words."""

from __future__ import annotations

import pytest

from data_tools.labels import class_words


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("DenseResidential", "dense residential"),
        ("storage_tank", "storage tank"),
        ("low-vegetation", "low vegetation"),
        ("T junction", "t junction"),
        ("footballField", "football field"),
        ("railwaystation", "railway station"),
        ("Straße", "straße"),
        ("class1", "class 1"),
    ],
)
def test_class_names_become_lower_case_words(name: str, words: str) -> None:
    assert class_words(name) == words


def test_a_name_without_letters_is_refused() -> None:
    with pytest.raises(ValueError, match="no letters"):
        class_words("_-")
