"""Parameter counts of a configuration: stored, active, trained in each stage. Nothing is allocated.

The paper's Table 8 counts one expert as "trainable"; all three are trained, so both figures are given: what a
run trains, and what the gradient of one sample reaches.
"""

from __future__ import annotations

import copy
import os
from dataclasses import asdict, dataclass
from typing import Any

import torch

from rsunivlm.models.checkpoints.reading import is_checkpoint_name, read_any_config
from rsunivlm.models.rs_moe.configuration_rs_moe import RSMoEConfig
from rsunivlm.models.rs_moe.counts import RSMoECounts, count_rs_moe
from rsunivlm.models.rs_moe.presets import PRESETS as RS_MOE_PRESETS
from rsunivlm.models.rs_moe.presets import preset
from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMConfig
from rsunivlm.models.rsunivlm.experts import GranularityExperts
from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration
from rsunivlm.tasks import Granularity

# The size of the paper, with the two tensors that its release carries and that later code leaves out.
PRESETS = {"rsunivlm": RSUniVLMConfig(image_newline=True)}


@dataclass(frozen=True)
class ParameterCounts:
    """Numbers of parameters; `experts` counts all sets of feed-forward networks."""

    vision_tower: int
    connector: int
    image_newline: int
    language_model: int
    per_expert: int
    num_experts: int
    stored: int
    dense: int
    gmoe_stored: int
    active: int
    stage1_trained: int
    stage2_trained: int
    stage2_trained_per_sample: int
    frozen_final_norm: int

    def to_json(self) -> dict[str, int]:
        """The counts by name."""
        return asdict(self)

    def rows(self) -> list[tuple[str, int]]:
        """Titles and counts, in the order of a table."""
        return [
            ("vision tower", self.vision_tower),
            ("connector", self.connector),
            ("image newline", self.image_newline),
            ("language model, dense", self.language_model),
            ("  of it feed-forward networks = one expert", self.per_expert),
            ("experts in this checkpoint", self.num_experts),
            ("stored in this checkpoint", self.stored),
            ("  dense (stage 1)", self.dense),
            ("  with three experts (stage 2)", self.gmoe_stored),
            ("active in this checkpoint, per token", self.active),
            ("trained in stage 1", self.stage1_trained),
            ("  kept but unused: final norm of the tower", self.frozen_final_norm),
            ("trained in stage 2 (all experts)", self.stage2_trained),
            ("  reached by one sample", self.stage2_trained_per_sample),
        ]


@dataclass(frozen=True)
class SystemCounts:
    """Parameters of one way to train, and of what it publishes.

    Attributes:
        trained: Parameters with a gradient.
        trained_per_sample: Of them, those that the gradient of one sample reaches. A token router may send a
            sample's tokens to every expert, so there it is all of them.
        in_training: All parameters that training holds.
        stored: Parameters of the published checkpoint.
        active: Of them, those that one token runs through.
    """

    trained: int
    trained_per_sample: int
    in_training: int
    stored: int
    active: int

    def to_json(self) -> dict[str, int]:
        """The counts by name."""
        return asdict(self)

    def rows(self) -> list[tuple[str, int]]:
        """Titles and counts, in the order of a table."""
        return [
            ("trained", self.trained),
            ("  reached by one sample", self.trained_per_sample),
            ("held in training", self.in_training),
            ("stored in the checkpoint", self.stored),
            ("active per token", self.active),
        ]


def load_config(name: str | os.PathLike[str]) -> RSUniVLMConfig:
    """Configuration of an RSUniVLM: a preset, a checkpoint folder or a hub id.

    Raises:
        ValueError: There is none, or it belongs to another architecture.
    """
    config = load_any_config(name)
    if not isinstance(config, RSUniVLMConfig):
        raise ValueError(
            f"{name} is of type {config.model_type!r}; this is for {RSUniVLMConfig.model_type!r}"
        )
    return config


def load_any_config(name: str | os.PathLike[str]) -> RSUniVLMConfig | RSMoEConfig:
    """Configuration of either family: a preset, a checkpoint folder or a hub id.

    Raises:
        ValueError: There is none, or it belongs to another architecture.
    """
    if str(name) in PRESETS:
        return PRESETS[str(name)]
    if str(name) in RS_MOE_PRESETS:
        return preset(str(name))
    if not is_checkpoint_name(str(name)):
        known = ", ".join((*PRESETS, *RS_MOE_PRESETS))
        raise ValueError(f"no preset, checkpoint folder or hub id {str(name)!r}; presets: {known}")
    return read_any_config(name)


def count_any(config: RSUniVLMConfig | RSMoEConfig) -> ParameterCounts | RSMoECounts:
    """Count a model of either family on the meta device."""
    return count_rs_moe(config) if isinstance(config, RSMoEConfig) else count_parameters(config)


def count_parameters(config: RSUniVLMConfig) -> ParameterCounts:
    """Count on the meta device; tied embeddings are counted once."""
    config = copy.deepcopy(config)
    config.int8_weights = False  # its scales are no parameters
    dense_config = copy.deepcopy(config)
    dense_config.text_config = config.text_config.dense()
    with torch.device("meta"):
        model = RSUniVLMForConditionalGeneration(dense_config)
        checkpoint = RSUniVLMForConditionalGeneration(config)
    parts = model.model
    dense = _size(model)
    per_expert = sum(_size(module) for module in model.modules() if isinstance(module, GranularityExperts))
    newline = parts.image_newline.numel() if parts.image_newline is not None else 0
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    vision, connector = _size(parts.vision_tower), _size(parts.multi_modal_projector)
    return ParameterCounts(
        vision_tower=vision,
        connector=connector,
        image_newline=newline,
        language_model=dense - vision - connector - newline,
        per_expert=per_expert,
        num_experts=config.text_config.num_routed_experts or config.num_experts,
        stored=_size(checkpoint),
        dense=dense,
        gmoe_stored=dense + (len(Granularity) - 1) * per_expert,
        active=_size(checkpoint) - _idle(checkpoint),
        stage1_trained=dense - frozen,
        stage2_trained=len(Granularity) * per_expert,
        stage2_trained_per_sample=per_expert,
        frozen_final_norm=frozen,
    )


def count_system(model: RSUniVLMForConditionalGeneration) -> SystemCounts:
    """Count a model that is ready to be trained, and the checkpoint it will publish.

    Args:
        model: On any device; parameters that are not trained are frozen.
    """
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    with torch.device("meta"):
        published = RSUniVLMForConditionalGeneration(model.config)
    stored, idle = _size(published), _idle(published)
    per_sample = (
        trained if model.config.text_config.num_routed_experts else trained - _idle(model, trained=True)
    )
    return SystemCounts(
        trained=trained,
        trained_per_sample=per_sample,
        in_training=_size(model),
        stored=stored,
        active=stored - idle,
    )


def _idle(model: RSUniVLMForConditionalGeneration, *, trained: bool = False) -> int:
    """Parameters of feed-forward networks that one token does not run through."""
    networks: list[Any] = [layer.mlp for layer in model.model.language_model.layers]
    return sum(
        network.idle_parameters
        for network in networks
        if not trained or any(p.requires_grad for p in network.parameters())
    )


def _size(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
