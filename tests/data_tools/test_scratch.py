"""Groups come back whole and in order, and nothing stays on disk."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.scratch import grouped

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.text(max_size=2), VALUES), max_size=20))
def test_grouping_is_that_of_a_dictionary(pairs: list) -> None:
    expected: dict = {}
    for key, value in pairs:
        expected.setdefault(key, []).append(value)
    assert list(grouped(pairs)) == list(expected.items())


def test_an_abandoned_reading_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    groups = grouped([("a", 1), ("b", 2)])
    assert next(groups) == ("a", [1])
    assert list(tmp_path.iterdir())
    groups.close()
    assert not list(tmp_path.iterdir())
