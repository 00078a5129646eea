"""Parameter counts of a configuration: stored, active, trained in each stage. Nothing is allocated.

The paper's Table 8 counts one expert as "trainable"; all three are trained, so both figures are given, and
`trained per step` says what one sample's gradient reaches.
"""

from __future__ import annotations

import copy
import os
from dataclasses import asdict, dataclass

import torch

from rsunivlm.models.checkpoints.reading import is_checkpoint_name, read_config
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
            ("stored, dense (stage 1)", self.dense),
            ("stored, with three experts (stage 2)", self.gmoe_stored),
            ("active per sample", self.active),
            ("trained in stage 1", self.stage1_trained),
            ("  kept but unused: final norm of the tower", self.frozen_final_norm),
            ("trained in stage 2 (all experts)", self.stage2_trained),
            ("  reached by one sample", self.stage2_trained_per_sample),
        ]


def load_config(name: str | os.PathLike[str]) -> RSUniVLMConfig:
    """Configuration of a preset, a checkpoint folder or a hub id.

    Raises:
        ValueError: There is none, or it belongs to another architecture.
    """
    if str(name) in PRESETS:
        return PRESETS[str(name)]
    if not is_checkpoint_name(str(name)):
        raise ValueError(
            f"no preset, checkpoint folder or hub id {str(name)!r}; presets: {', '.join(PRESETS)}"
        )
    return read_config(name)


def count_parameters(config: RSUniVLMConfig) -> ParameterCounts:
    """Count on the meta device; tied embeddings are counted once."""
    dense_config = copy.deepcopy(config)
    dense_config.text_config.num_experts = 1
    with torch.device("meta"):
        model = RSUniVLMForConditionalGeneration(dense_config)
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
        num_experts=config.num_experts,
        dense=dense,
        gmoe_stored=dense + (len(Granularity) - 1) * per_expert,
        active=dense,
        stage1_trained=dense - frozen,
        stage2_trained=len(Granularity) * per_expert,
        stage2_trained_per_sample=per_expert,
        frozen_final_norm=frozen,
    )


def _size(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
