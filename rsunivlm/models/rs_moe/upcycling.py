"""From the model of stage I to experts, and from adapters to language models of their own.

Experts start from the weights of stage I, so right after `add_experts` every expert that is given the prompt
and no soft tokens answers as stage I does, to the last bit.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from rsunivlm.models.rs_moe.configuration_rs_moe import RSMoEConfig
from rsunivlm.models.rs_moe.experts import merge_adapter
from rsunivlm.models.rs_moe.modeling_rs_moe import RSMoEForConditionalGeneration


def add_experts(
    model: RSMoEForConditionalGeneration, config: RSMoEConfig | None = None
) -> RSMoEForConditionalGeneration:
    """Turn the model of stage I into one with experts, in place.

    Args:
        model: Without experts.
        config: Its configuration with the settings of stage II, e.g. from `stage_two`; None takes the
            defaults.

    Returns:
        The same model object.

    Raises:
        ValueError: The model has experts, or the configuration asks for copies (train adapters, then
            `as_copies`).
    """
    config = config or stage_two(model.config)
    if model.config.num_experts:
        raise ValueError(f"the model has experts already: {', '.join(model.config.subtasks)}")
    if config.experts_as == "copies":
        raise ValueError("experts begin as adapters; make copies of them once they are trained")
    model.attach_experts(config)
    if model.router is not None:
        model.router.to(model.device, model.dtype).reset_parameters()
    model.config = config
    return model


def stage_two(config: RSMoEConfig, **settings: Any) -> RSMoEConfig:
    """The configuration of a model of stage I with experts.

    Args:
        config: Of the model of stage I.
        **settings: Fields of `RSMoEConfig` that stage II sets, e.g. `experts`, `prompts`, `adapter_rank`.
    """
    fields = {key: value for key, value in config.to_dict().items() if key not in ("experts", "prompts")}
    return RSMoEConfig(**{**fields, **settings})


@torch.no_grad()
def as_copies(model: RSMoEForConditionalGeneration, **settings: Any) -> RSMoEForConditionalGeneration:
    """A model whose experts are language models of their own, with the adapters folded in.

    Args:
        model: With adapters; stays as it is.
        **settings: Fields of `RSMoEConfig` to change; what needs the language model of stage I must be.

    Raises:
        ValueError: The model has no adapters, or the settings need the language model of stage I.
    """
    if model.config.experts_as != "adapters" or not model.config.num_experts:
        raise ValueError("only experts that are adapters can be made copies")
    fields = model.config.to_dict() | {"vqa": "best"} | settings | {"experts_as": "copies"}
    copies = copy.deepcopy(model)
    copies.config = RSMoEConfig(**fields)
    copies.language_model, copies.language_models = None, nn.ModuleDict()
    for name in copies.config.subtasks:
        language_model: Any = copy.deepcopy(model.language_model)
        merge_adapter(language_model, name)
        copies.language_models[name] = language_model
    return copies
