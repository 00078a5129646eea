"""What each stage trains.

Stage 1 fine-tunes vision tower, connector and language model together. Stage 2 starts from its result, copies
every feed-forward network into three experts and trains these experts only (paper, section 3.3 and Table 9).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from rsunivlm.models.rsunivlm.experts import GranularityExperts
from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration
from rsunivlm.models.rsunivlm.upcycling import upcycle
from rsunivlm.training.recipe import Stage


def prepare_stage(model: RSUniVLMForConditionalGeneration, stage: Stage) -> RSUniVLMForConditionalGeneration:
    """Make the model what a stage trains: upcycle it for stage 2, and freeze the rest.

    Parameters that take no part in the model's output (SigLIP's final norm) are frozen from the start and
    stay so.

    Args:
        model: Dense for stage 1; dense, or with experts to be trained further, for stage 2.
        stage: 1 or 2.

    Returns:
        The same model.

    Raises:
        ValueError: Stage 1 was given a model with experts.
    """
    if stage == 1:
        if model.config.num_experts != 1:
            raise ValueError(f"stage 1 trains a dense model; this one has {model.config.num_experts} experts")
        return model
    if model.config.num_experts == 1:
        model = upcycle(model)
    model.requires_grad_(False)
    for module in model.modules():
        if isinstance(module, GranularityExperts):
            module.requires_grad_(True)
    return model


def freeze_parts(
    model: RSUniVLMForConditionalGeneration, learning_rates: Mapping[str, float]
) -> dict[str, float]:
    """Freeze the parts whose learning rate is 0.

    Args:
        model: The model of the run.
        learning_rates: Prefix of parameter names -> learning rate; the longest prefix of a name counts.

    Returns:
        The rates above 0.
    """
    for name, parameter in model.named_parameters():
        prefixes = [key for key in learning_rates if name.startswith(key)]
        if prefixes and learning_rates[max(prefixes, key=len)] == 0:
            parameter.requires_grad_(False)
    return {prefix: rate for prefix, rate in learning_rates.items() if rate}


def frozen_modules(model: nn.Module) -> list[nn.Module]:
    """The largest modules that hold parameters but train none; they run in evaluation mode."""
    parameters = list(model.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        return [model]
    return [module for child in model.children() for module in frozen_modules(child)]
