"""Image tokens into the places of `<image>` placeholders, as in LLaVA: what all families have in common.

Shapes: B batch, L sequence, D hidden, T image tokens of all rows in order.
"""

from __future__ import annotations

import torch
from torch import Tensor


def place_images(ids_BL: Tensor, embeds_BLD: Tensor, tokens_TD: Tensor, image_token_id: int) -> Tensor:
    """Put image tokens, in order, into the placeholder positions.

    Raises:
        ValueError: Placeholders and tokens differ in number.
    """
    mask_BL = ids_BL == image_token_id
    places, tokens = mask_BL.sum(), len(tokens_TD)
    if not torch.compiler.is_compiling() and places != tokens:
        raise ValueError(
            f"the text has {int(places)} image placeholders, the images give {tokens} tokens: one <image> "
            "mark per image is needed"
        )
    return embeds_BLD.masked_scatter(mask_BL.unsqueeze(-1), tokens_TD.to(embeds_BLD.dtype))
