"""Normalisation and matching rules: tables worked by hand, properties, brute force for the substring rule."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eval.metrics.answers import ANSWER_RULES, closest_name, is_right, name_key, normalise

short_texts = st.text("yesno 12.,'%-_the", max_size=12)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Yes.", "yes"),
        (" yes,  it is! ", "yes it is"),
        ("The river", "river"),
        ("a", "a"),  # nothing else is left: it may be an option of the question
        ("Two ships", "2 ships"),
        ("none", "0"),
        ("1,000", "1000"),
        ("3.5", "3.5"),
        ("3.", "3"),
        ("don't", "dont"),
        ("rural_urban", "rural urban"),
        ("10632m2", "10632m2"),
        ("50%", "50%"),
        ("...", ""),
        ("\n", ""),
    ],
)
def test_normalise(answer, expected):
    assert normalise(answer) == expected


@given(st.text(max_size=30))
@example("1,'000.'5")
def test_normalising_twice_changes_nothing(answer):
    assert normalise(normalise(answer)) == normalise(answer)


@pytest.mark.parametrize(
    ("answer", "truths", "right"),
    [
        # answer, truths -> right under exact, lhrs, contains
        ("Yes", ("yes",), "exact lhrs contains"),
        ("yes, there is", ("yes",), ""),
        ("n", ("no",), "lhrs"),
        ("", ("no",), ""),
        ("!", ("no",), ""),
        ("urb", ("urban",), "lhrs"),
        ("an urban area", ("urban",), "contains"),
        ("10", ("1",), ""),
        ("1", ("10",), "lhrs"),
        ("two", ("2",), "exact lhrs contains"),
        ("no", ("north", "no"), "exact lhrs contains"),
        ("ship", ("boat", "the ship"), "exact lhrs contains"),
    ],
)
def test_rules(answer, truths, right):
    assert {rule for rule in ANSWER_RULES if is_right(answer, truths, rule)} == set(right.split())


def test_lhrs_counts_an_empty_answer_as_right_only_on_demand():
    assert is_right("", ("no",), "lhrs", empty_is_right=True)
    assert not is_right("", ("no",), "exact", empty_is_right=True)


@given(short_texts, short_texts)
def test_an_exact_answer_is_right_under_every_rule(answer, truth):
    if is_right(answer, (truth,), "exact"):
        assert all(is_right(answer, (truth,), rule) for rule in ANSWER_RULES)


@given(
    st.text("abc _", max_size=8), st.lists(st.text("abc_", min_size=1, max_size=6), min_size=1, max_size=5)
)
def test_closest_name_shares_the_longest_substring(answer, names):
    def longest(name):
        text, name = answer.lower().replace("_", " ").strip(), name.replace("_", " ").strip()
        parts = (text[i:j] for i in range(len(text)) for j in range(i + 1, len(text) + 1))
        return max((len(part) for part in parts if part in name), default=0)

    found = closest_name(answer, names)
    best = max(map(longest, names))
    assert found == (next(i for i, name in enumerate(names) if longest(name) == best) if best else None)


def test_closest_name_favours_long_names():
    # The known bias of the rule: "tree" is in no class, but "medium residential" has "re" and more letters.
    assert closest_name("a residential area", ["airport", "dense_residential", "medium residential"]) == 1
    assert closest_name("a lake", ["pond", "baseball field"]) == 1


def test_spellings_of_a_class_are_equal():
    assert name_key("Storage_Tanks.") == name_key("storage tanks") == name_key("StorageTanks")
