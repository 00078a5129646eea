"""The gate counts what is inside, whatever the order in which requests come, hold, drop and go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsunivlm.serving.admission import Gate, Ticket
from rsunivlm.serving.errors import ApiError
from rsunivlm.serving.settings import MB, Settings


@given(
    st.lists(
        st.tuples(st.sampled_from(["admit", "hold", "drop", "release"]), st.integers(0, 400)), max_size=80
    )
)
def test_nothing_is_counted_twice_or_forgotten(steps: list[tuple[str, int]]) -> None:
    ended: list[Ticket] = []
    settings = Settings("tiny", slots=1, queue=3, max_body=MB, max_pixels=MB, max_memory=19 * MB)
    gate = Gate(settings, ended.append)
    inside: list[Ticket] = []
    turned_away = 0
    for step, number in steps:
        ticket = inside[number % len(inside)] if inside else None
        if step == "admit":
            if len(inside) < 4:
                inside.append(gate.admit())
            else:
                with pytest.raises(ApiError, match="try again later"):
                    gate.admit()
                turned_away += 1
        elif ticket is not None and step == "hold":
            if gate.held + number * 50_000 <= settings.max_memory:
                gate.hold(ticket, number * 50_000)
            else:
                with pytest.raises(ApiError, match="fill the memory"):
                    gate.hold(ticket, number * 50_000)
        elif ticket is not None and step == "drop":
            gate.drop(ticket, ticket.held // 2)
        elif ticket is not None:
            inside.remove(ticket)
            gate.release(ticket)
        assert gate.open == len(inside)
        assert gate.held == sum(ticket.held for ticket in inside) <= settings.max_memory
    assert len(ended) == gate.accepted - gate.open + turned_away


def test_a_closed_gate_says_so() -> None:
    gate = Gate(Settings("tiny"), lambda ticket: None)
    gate.stopping = True
    with pytest.raises(ApiError, match="stopping") as refused:
        gate.admit()
    assert (refused.value.status, refused.value.outcome) == (503, "stopping")
