"""What each stage trains.

Stage 1 fine-tunes vision tower, connector and language model together. Stage 2 starts from its result, copies
every feed-forward network into three experts and trains these experts only (paper, section 3.3 and Table 9),
or makes of it one of the other systems that the paper compares (`rsunivlm.training.adaptations`).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMConfig
from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration
from rsunivlm.training.adaptations import Adaptation, GMoE
from rsunivlm.training.recipe import Stage


def prepare_stage(
    model: RSUniVLMForConditionalGeneration, stage: Stage, adaptation: Adaptation | None = None
) -> RSUniVLMForConditionalGeneration:
    """Make the model what a stage trains, in place, and freeze the rest.

    Parameters that take no part in the model's output (SigLIP's final norm) are frozen from the start and
    stay so.

    Args:
        model: Dense for stage 1; dense, or with experts to be trained further, for stage 2.
        stage: 1 or 2.
        adaptation: What stage 2 makes of the model; by default granularity experts.

    Returns:
        The same model.

    Raises:
        ValueError: The model is not what the stage starts from.
    """
    if stage == 2:
        (adaptation or GMoE()).prepare(model)
    else:
        check_dense(model.config)
    return model


def check_dense(config: RSUniVLMConfig) -> None:
    """Check what stage 1 starts from by its configuration.

    Raises:
        ValueError: It has experts.
    """
    if not config.text_config.is_dense:
        experts = config.text_config.num_routed_experts or config.num_experts
        raise ValueError(
            f"stage 1 trains a dense model; this one has {experts} experts: run stage 2 to train these "
            "further, or set init_from to a dense checkpoint"
        )


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
