"""Values of parameters that a foreign checkpoint does not have: as in a new model, by a seed."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration


@torch.no_grad()
def fresh_values(
    model: RSUniVLMForConditionalGeneration, names: Iterable[str], seed: int
) -> dict[str, Tensor]:
    """Initialise some parameters of a model that has no memory behind it.

    Args:
        model: On the meta device; the modules that own the parameters get memory.
        names: Parameters of the connector, the newline, or the tower's final norm.
        seed: Of the random numbers.

    Returns:
        Name -> float32 values.
    """
    names = list(names)
    parts = model.model
    for module in (parts.multi_modal_projector, getattr(parts.vision_tower.backbone, "norm", None)):
        if isinstance(module, nn.Module):
            module.to_empty(device="cpu")
            for child in module.modules():
                if isinstance(child, nn.Linear | nn.LayerNorm):
                    child.reset_parameters()
    if parts.image_newline is not None:
        parts.image_newline = nn.Parameter(torch.empty(parts.image_newline.shape))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for child in parts.multi_modal_projector.children():
            model._init_weights(child)
        model._init_weights(parts.multi_modal_projector)
        model._init_weights(parts)
    return {name: model.get_parameter(name) for name in names}
