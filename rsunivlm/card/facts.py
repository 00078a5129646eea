"""What a checkpoint folder says about itself: sizes, text forms, the task map, training.

Everything comes from its files; what they do not say is absent here, and the card says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rsunivlm.codecs.boxes import BoxCodec
from rsunivlm.codecs.masks import MaskCodec
from rsunivlm.models.checkpoints.files import read_json
from rsunivlm.models.checkpoints.reading import read_config
from rsunivlm.models.counts import ParameterCounts, count_parameters
from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMConfig
from rsunivlm.models.stored_weights import StoredWeights, find_weights


@dataclass(frozen=True)
class Facts:
    """What the files of a checkpoint say.

    Attributes:
        folder: The checkpoint.
        config: Its configuration.
        counts: Its parameters.
        boxes: How it writes boxes.
        masks: How it writes masks.
        weights: Its weight files.
        training: Content of `training.json`; empty where there is none.
    """

    folder: Path
    config: RSUniVLMConfig
    counts: ParameterCounts
    boxes: BoxCodec
    masks: MaskCodec
    weights: StoredWeights
    training: Mapping[str, Any]

    @property
    def experts(self) -> str:
        """What answers: one network, or which kind of experts."""
        text = self.config.text_config
        if text.num_routed_experts:
            return (
                f"{text.num_routed_experts} experts a layer; a learned router gives each token "
                f"{text.num_experts_per_tok} of them"
            )
        if text.num_experts == 1:
            return "dense: one feed-forward network a layer answers every task"
        kind = f"changes of rank {text.expert_rank} of one network" if text.expert_rank else "whole networks"
        return f"{text.num_experts} experts a layer ({kind}); the task of the prompt chooses one"


def read_facts(folder: Path) -> Facts:
    """Read a checkpoint folder; weights are not loaded.

    Raises:
        ValueError: No such folder, no configuration or weights in it, or `training.json` is no JSON object.
    """
    if not folder.is_dir():
        raise ValueError(f"no checkpoint folder {folder}")
    config = read_config(folder)
    return Facts(
        folder=folder,
        config=config,
        counts=count_parameters(config),
        boxes=BoxCodec.from_dict(config.box_codec or {}),
        masks=MaskCodec.from_dict(config.mask_codec or {}),
        weights=find_weights(folder),
        training=read_json(folder / "training.json") if (folder / "training.json").exists() else {},
    )
