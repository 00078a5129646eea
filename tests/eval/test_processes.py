"""Shares of the work, and what a launcher has to provide; see test_generation.py for whole runs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.processes import ALONE, Processes, connected


@given(st.lists(st.integers()), st.integers(1, 9))
def test_shares_are_rows_of_neighbours_that_make_up_the_whole(items, world_size):
    shares = [Processes(rank, world_size).share(items) for rank in range(world_size)]
    assert [item for share in shares for item in share] == items
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_without_a_launcher_there_is_one_process(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with connected() as processes:
        assert processes is ALONE
        with processes.together():
            assert processes.share([1, 2, 3]) == [1, 2, 3]
        with pytest.raises(ValueError, match="bad image"), processes.together():
            raise ValueError("bad image")


def test_processes_without_an_address_cannot_reach_each_other(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match=r"WORLD_SIZE is 2, but .* MASTER_ADDR .*; start them with torchrun"):
        connected().__enter__()
