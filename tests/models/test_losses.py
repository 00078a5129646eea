"""Liger's loss against our own: its function played by torch, and the kernel itself on a GPU."""

from __future__ import annotations

import sys
import types

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from rsunivlm.models.losses import liger_cross_entropy, supervised_cross_entropy


def results(loss_function, device: str, num_items: int | None) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    head = nn.Linear(32, 200, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.randn(200, 32, generator=generator))
    head.to(device)
    hidden_MD = torch.randn(37, 32, generator=generator).to(device).requires_grad_()
    targets_M = torch.randint(200, (37,), generator=generator).to(device)
    loss, losses_M = loss_function(head, hidden_MD, targets_M, num_items)
    loss.backward()
    assert not losses_M.requires_grad
    return loss.detach(), losses_M, hidden_MD.grad, head.weight.grad


@pytest.mark.parametrize("num_items", [None, 50])
def test_ligers_loss_is_summed_and_divided_as_ours(
    monkeypatch: pytest.MonkeyPatch, num_items: int | None
) -> None:
    def fused(hidden_MD: Tensor, weight_VD: Tensor, targets_M: Tensor, *, reduction: str) -> Tensor:
        return F.cross_entropy(hidden_MD @ weight_VD.T, targets_M, reduction=reduction)

    module = types.ModuleType("functional")
    module.liger_fused_linear_cross_entropy = fused
    monkeypatch.setitem(sys.modules, "liger_kernel", types.ModuleType("liger_kernel"))
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers", types.ModuleType("transformers"))
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers.functional", module)
    for ours, theirs in zip(
        results(supervised_cross_entropy, "cpu", num_items),
        results(liger_cross_entropy, "cpu", num_items),
        strict=True,
    ):
        assert_close(theirs, ours, atol=1e-6, rtol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="Liger's kernel needs a GPU")
def test_ligers_kernel_equals_our_loss() -> None:
    pytest.importorskip("liger_kernel")
    for ours, theirs in zip(
        results(supervised_cross_entropy, "cuda", 50), results(liger_cross_entropy, "cuda", 50), strict=True
    ):
        assert_close(theirs, ours, atol=1e-4, rtol=1e-4)


def test_a_batch_without_supervised_tokens_needs_no_kernel() -> None:
    loss, losses_M = liger_cross_entropy(
        nn.Linear(4, 9), torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), 3
    )
    assert loss == 0
    assert not len(losses_M)
