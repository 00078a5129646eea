"""Tensors of foreign checkpoints that a model of ours does not need, and why; all others need a place."""

from __future__ import annotations

import re

from rsunivlm.models.checkpoints.plan import Wishes

NEWLINE = "model.image_newline"  # our name

COMMON = {
    r"(.*\.)?position_ids": "position numbers, counted anew",
    r"(.*\.)?rotary_emb\.inv_freq": "rotary frequencies, computed anew",
}


def vision_unused(prefix: str, kept: int, depth: int, blocks: str = "encoder.layers.") -> dict[str, str]:
    """What of a SigLIP tower is left out.

    Args:
        prefix: What stands before its tensors, with its dot.
        kept: Blocks that are used.
        depth: Blocks that are stored.
        blocks: What stands before a block's number.
    """
    tower = re.escape(prefix)
    unused = {
        rf"{tower}(head|attn_pool|fc_norm)\..*": "pooling head of the tower; image tokens are used instead"
    }
    for block in range(kept, depth):
        unused[rf"{tower}{re.escape(blocks)}{block}\..*"] = "block of the tower behind the one that is read"
    return unused


def with_newline(
    wishes: Wishes, *, stored: str | None, used: bool
) -> tuple[bool, frozenset[str], dict[str, str]]:
    """Whether the model ends images with a vector.

    Args:
        wishes: What the user wants.
        stored: Name of the vector in the source; None where it has none.
        used: Whether the source's configuration makes use of it.

    Returns:
        Whether our model has the vector, our parameters that begin fresh, and what of the source is unused.
    """
    newline = wishes.image_newline if wishes.image_newline is not None else stored is not None and used
    if stored is None:
        return newline, frozenset([NEWLINE] if newline else []), {}
    reason = "not wanted" if wishes.image_newline is False else "the source's configuration does not use it"
    return newline, frozenset(), {} if newline else {re.escape(stored): reason}
