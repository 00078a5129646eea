"""The loss where it matters: only positions with a target go through the head, a chunk at a time.

A conversation about an image has hundreds of positions and a few answer tokens. The head of a language model
is its largest product (151,936 rows), and its scores in float32 are the largest tensor of a training step.
Here the head sees the supervised positions only, in chunks whose scores are computed again in the backward
pass instead of being kept.

Shapes: M supervised positions, D hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

# Head, hidden states, targets and number of items to the loss and its parts, see `supervised_cross_entropy`.
SupervisedLoss = Callable[..., tuple[Tensor, Tensor]]

# Positions scored at once: 2048 x 151,936 scores in float32 are 1.2 GB.
CHUNK = 2048


def supervised_cross_entropy(
    head: nn.Module, hidden_MD: Tensor, targets_M: Tensor, num_items: Tensor | int | None, chunk: int = CHUNK
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the next tokens, in float32.

    Args:
        head: Hidden states to scores.
        hidden_MD: Hidden states at the positions *before* the targets.
        targets_M: Token ids.
        num_items: The sum is divided by it: supervised tokens of the global batch. None takes the mean.
        chunk: Positions scored at once.

    Returns:
        The loss, a scalar, and the cross-entropy of each target [M], which no gradient flows through.
    """
    keep = len(targets_M) <= chunk  # one chunk is not worth computing twice

    def scored(hidden_mD: Tensor, targets_m: Tensor) -> Tensor:
        return F.cross_entropy(head(hidden_mD).float(), targets_m, reduction="none")

    losses = []
    total = hidden_MD.new_zeros((), dtype=torch.float32)
    for hidden_mD, targets_m in zip(hidden_MD.split(chunk), targets_M.split(chunk), strict=True):
        if keep:
            losses_m = scored(hidden_mD, targets_m)
        else:
            losses_m = checkpoint(scored, hidden_mD, targets_m, use_reentrant=False)
        total = total + losses_m.sum()
        losses.append(losses_m.detach())
    losses_M = torch.cat(losses)
    return _per_item(total, losses_M, num_items), losses_M


def liger_cross_entropy(
    head: nn.Linear, hidden_MD: Tensor, targets_M: Tensor, num_items: Tensor | int | None
) -> tuple[Tensor, Tensor]:
    """As `supervised_cross_entropy`, by Liger's fused kernel (Hsu et al., "Liger Kernel", 2024).

    For GPUs that Triton knows. It needs the whole weight of the head, which ZeRO-3 keeps in shards.
    """
    if not len(targets_M):  # the kernel takes no empty batch
        return supervised_cross_entropy(head, hidden_MD, targets_M, num_items)
    from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy  # optional

    losses_M = liger_fused_linear_cross_entropy(hidden_MD, head.weight, targets_M, reduction="none")
    return _per_item(losses_M.sum(), losses_M, num_items), losses_M.detach()


def _per_item(total: Tensor, losses_M: Tensor, num_items: Tensor | int | None) -> Tensor:
    if num_items is None:
        num_items = max(1, len(losses_M))
    elif torch.is_tensor(num_items):
        num_items = num_items.to(total.device)
    return total / num_items
