"""Slices as runs of elements, and tables that cover a model without overlap."""

from __future__ import annotations

from collections import defaultdict

import torch
from hypothesis import given
from hypothesis import strategies as st

from rsunivlm.models.checkpoints.parts import (
    element_range,
    newline_part,
    projector_parts,
    qwen2_parts,
    siglip_parts,
    timm_parts,
)
from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMConfig
from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration


@given(st.data())
def test_a_slice_is_a_run_of_elements(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    numbers = data.draw(st.integers(0, len(shape) - 1))
    index: list[int | slice] = [data.draw(st.integers(0, length - 1)) for length in shape[:numbers]]
    if data.draw(st.booleans()):
        begin = data.draw(st.integers(0, shape[numbers] - 1))
        index.append(slice(begin, data.draw(st.integers(begin + 1, shape[numbers]))))
    whole = torch.arange(torch.Size(shape).numel()).view(shape)
    first, part = element_range(shape, tuple(index))
    assert whole[tuple(index)].shape == part
    expected = torch.arange(first, first + torch.Size(part).numel())
    assert torch.equal(whole[tuple(index)].flatten(), expected)


def test_the_tables_cover_the_published_model_once() -> None:
    config = RSUniVLMConfig(text_config={"num_experts": 3}, image_newline=True)
    with torch.device("meta"):
        shapes = {
            name: tensor.shape
            for name, tensor in RSUniVLMForConditionalGeneration(config).state_dict().items()
        }
    projector = projector_parts("model.mm_projector.0", "model.mm_projector.2")
    language = qwen2_parts("model.", config, expert=None)
    newline = newline_part("model.image_newline")
    for vision in (siglip_parts("v.", config), timm_parts("v.", config)):
        parts = [*vision, *projector, *language, newline]
        assert len({part.foreign for part in parts}) == len(parts)
        covered = defaultdict(list)
        for part in parts:
            first, shape = element_range(shapes[part.ours], part.index)
            covered[part.ours].append((first, first + _size(shape)))
        assert set(covered) == set(shapes)
        for name, ranges in covered.items():
            ends = [0]
            for begin, end in sorted(ranges):
                assert begin == ends[-1], name
                ends.append(end)
            assert ends[-1] == shapes[name].numel(), name
    # The official layout holds 861 entries (docs/checkpoints.md).
    assert len([*siglip_parts("v.", config), *projector, *language, newline]) == 861


def _size(shape: tuple[int, ...]) -> int:
    return torch.Size(shape).numel()
