"""A compiled model answers as one that is not, by few programs and without a break in them."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch._dynamo.utils import counters

from rsunivlm.inference.answer import Request
from rsunivlm.inference.compiled import OLDEST, padded_sizes
from rsunivlm.inference.predictor import RSUniVLM
from rsunivlm.models.rsunivlm.row_attention import Span
from rsunivlm.tasks import Task, render_prompt


@pytest.fixture
def traced(monkeypatch) -> None:
    """The compiler's tracing and guards, without its code generation, which takes a minute."""
    torch._dynamo.reset()
    counters.clear()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))


@pytest.mark.skipif(torch.__version__ < OLDEST, reason=f"compiled passes need torch {OLDEST}")
@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("num_experts", [1, 3])
def test_compiled_passes_write_the_same_answers(make_predictor, pictures, num_experts: int) -> None:
    model = make_predictor(num_experts)
    compiled = RSUniVLM(model.model, model.processor, compile=True)
    prompts = [render_prompt(Task.SS, label="road"), "[VG] the ship", "[VQA] how many?", "[SEG] all of it"]
    requests = [Request([pictures[k % 3]], f"{prompts[k % 4]} {k}", max_new_tokens=40) for k in range(16)]
    expected = [answer.text for answer in model.answer_batch(requests)]
    for batch_size in (1, 3, 16):
        compiled.forget()
        assert [a.text for a in compiled.answer_batch(requests, batch_size=batch_size)] == expected
    assert not counters["graph_break"]
    # Not one for every size: an expert has one, and some more as sizes begin to vary.
    assert counters["stats"]["unique_graphs"] <= 4 * num_experts


@given(
    st.lists(
        st.builds(Span, slot=st.just(0), start=st.integers(0, 2000), count=st.integers(1, 64)),
        min_size=1,
        max_size=20,
    )
)
def test_sizes_hold_the_pass_and_are_few(spans: list[Span]) -> None:
    sizes = padded_sizes(spans)
    tokens, columns = sum(span.count for span in spans), max(span.count for span in spans)
    assert tokens <= sizes.tokens <= max(2, 2 * tokens - 1)
    assert len(spans) <= sizes.rows <= max(2, 2 * len(spans) - 1)
    assert columns <= sizes.columns in (2, 4, 8, 16, 32, 64)
    assert 0 <= sizes.positions - max(span.start + span.count for span in spans) < 256
