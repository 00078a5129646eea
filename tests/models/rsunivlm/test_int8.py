"""Int8 layers against the float layers they come from, within the bound of their rounding."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from rsunivlm.models.rsunivlm import int8
from rsunivlm.models.rsunivlm.upcycling import extract_expert, upcycle, upcycle_low_rank, upcycle_token_routed

pytestmark = pytest.mark.usefixtures("int8_processor")
SIZES = st.integers(1, 70)


def logits(model, experts: list[int]) -> torch.Tensor:
    ids = torch.randint(10, 300, (len(experts), 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model(ids, expert_ids=torch.tensor(experts)).logits


def test_by_hand() -> None:
    weight = torch.tensor([[127.0, -63.6, 0.4], [0.0, 0.0, 0.0], [2.0, -1.0, 0.5]])
    integers, scale = int8.quantise_rows(weight)
    # 2 / 127 = 0.0157480...; the next bfloat16 number is 129 / 8192 = 0.0157470... below, 130 / 8192 above.
    assert scale.tolist()[0] == 1.0
    assert scale.tolist()[2] == 130 / 8192 == 0.015869140625
    assert integers.tolist() == [[127, -64, 0], [0, 0, 0], [126, -63, 32]]
    x = torch.tensor([[1.0, 0.5, -127.0], [0.0, 0.0, 0.0]])  # steps of 1 and of nothing
    y = int8.int8_product(x, integers, scale, torch.tensor([0.0, 7.0, 1.0]))
    # 0.5 is rounded to the even 0.
    assert y.tolist() == [[127.0, 7.0, 1.0 + (126 - 127 * 32) * 130 / 8192], [0.0, 7.0, 1.0]]


@given(SIZES, SIZES, st.integers(1, 5), st.sampled_from([1e-4, 1.0, 300.0]), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_product_errs_by_no_more_than_its_roundings(N: int, K: int, R: int, size: float, seed: int) -> None:
    torch.manual_seed(seed)
    weight_NK = size * torch.randn(N, K) * torch.rand(N, 1)
    x_RK = torch.randn(R, K) * 10.0 ** torch.randint(-3, 4, (R, 1))
    integers, scale_N = int8.quantise_rows(weight_NK)
    rounded_NK = integers * scale_N[:, None]
    assert ((rounded_NK - weight_NK).abs() <= scale_N[:, None] * 0.5001).all()
    step_R1 = x_RK.abs().amax(-1, keepdim=True) / 127
    # A weight is off by half its scale, an input by half its step.
    bound_RN = x_RK.abs().sum(-1, keepdim=True) * scale_N / 2 + step_R1 / 2 * rounded_NK.abs().sum(-1)
    error_RN = (
        int8.int8_product(x_RK, integers, scale_N).double() - x_RK.double() @ weight_NK.double().T
    ).abs()
    assert (error_RN <= bound_RN * 1.001 + 1e-30).all()
    assert torch.equal(scale_N.bfloat16().float(), scale_N)


def test_a_row_depends_on_itself_alone() -> None:
    torch.manual_seed(0)
    integers, scale = int8.quantise_rows(torch.randn(50, 64))
    x = torch.randn(9, 64)
    alone = torch.cat([int8.int8_product(row[None], integers, scale) for row in x])
    x[3] *= 1e6
    together = int8.int8_product(x, integers, scale)
    assert torch.equal(torch.cat([together[:3], together[4:]]), torch.cat([alone[:3], alone[4:]]))


def dequantised(model):
    """A float model with the very numbers that the int8 one stands for."""
    model = copy.deepcopy(model)
    stacks = [p for name, p in model.named_parameters() if ".mlp." in name and "language_model" in name]
    layers = [module.weight for module in model.modules() if isinstance(module, nn.Linear | nn.Embedding)]
    with torch.no_grad():
        for weight in {id(weight): weight for weight in stacks + layers}.values():  # a tied one once
            integers, scale = int8.quantise_rows(weight)
            weight.copy_(integers * scale[..., None])
    return model


@pytest.mark.parametrize("num_experts", [1, 3])
def test_the_model_follows_its_float_one_with_every_expert(make_tiny_model, monkeypatch, num_experts) -> None:
    model = make_tiny_model(num_experts)
    right = dequantised(model)
    int8.quantise(model)
    # With inputs left float, only the order of sums differs from the float layers.
    monkeypatch.setattr(
        int8,
        "int8_product",
        lambda x, weight, scale, bias=None: nn.functional.linear(x, weight * scale[:, None], bias),
    )
    pixels, experts = torch.randn(2, 3, 32, 32), [2, 0, 1, 1] if num_experts == 3 else [0, 0, 0, 0]
    assert_close(logits(model, experts), logits(right, experts), atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        assert_close(
            *(m.get_image_features(pixels).pooler_output for m in (model, right)), atol=1e-4, rtol=1e-4
        )
    monkeypatch.undo()
    distance = (logits(model, experts) - logits(right, experts)).norm() / logits(right, experts).norm()
    assert 0 < distance < 0.1


def test_what_has_no_int8_form_is_refused(make_tiny_model) -> None:
    low_rank = upcycle_low_rank(make_tiny_model(), rank=2)
    with pytest.raises(ValueError, match="this model's are low-rank"):
        int8.quantise(low_rank)
    with pytest.raises(ValueError, match="this model's are token-routed"):
        int8.quantise(upcycle_token_routed(make_tiny_model(), num_experts=4, top_k=2))
    model = make_tiny_model(3)
    int8.quantise(model)
    for work in (int8.quantise, lambda model: extract_expert(model, 0), upcycle):
        with pytest.raises(ValueError, match=r"needs float weights|3 experts"):
            work(model)
