"""Pretrained parts of an RS-MoE that a recipe builds: InstructBLIP's encoder and any causal language model.

In a recipe's `model` section, ``qformer: {weights: FOLDER}`` names an InstructBLIP checkpoint in Hugging
Face's layout and ``text: {weights: FOLDER or hub id}`` a language model, whose configuration is then its own.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from rsunivlm.models.rs_moe.modeling_rs_moe import RSMoEForConditionalGeneration

logger = logging.getLogger(__name__)

WEIGHTS = "weights"  # the key in a section that names a part's weights


def text_fields(section: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the language model's configuration: those of its weights, and over them the section's own.

    Raises:
        ValueError: The weights have no configuration that transformers knows.
    """
    own = {key: value for key, value in section.items() if key != WEIGHTS}
    if not section.get(WEIGHTS):
        return own
    try:
        published = AutoConfig.from_pretrained(section[WEIGHTS], trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"model.text.weights: {str(error).splitlines()[0]}") from error
    return {**published.to_dict(), **own}


def load_parts(model: RSMoEForConditionalGeneration, section: Mapping[str, Any]) -> None:
    """Fill Q-Former and language model of a model, in place, with the weights that a recipe names.

    What InstructBLIP's Q-Former cannot give (its cross-attention behind another vision tower) is logged.

    Raises:
        ValueError: Weights are missing, damaged or of another shape; names them.
    """
    if encoder := section.get("qformer", {}).get(WEIGHTS):
        from rsunivlm.models.checkpoints.instructblip import load_encoder

        fresh = load_encoder(model, Path(encoder)).fresh
        for reason in dict.fromkeys(fresh.values()):
            count = sum(why == reason for why in fresh.values())
            logger.warning("%d parameters of the encoder begin fresh: %s", count, reason)
    if source := section.get("text", {}).get(WEIGHTS):
        try:
            published = AutoModelForCausalLM.from_pretrained(
                source, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
            )
        except (OSError, ValueError) as error:
            raise ValueError(f"model.text.weights: {str(error).splitlines()[0]}") from error
        language_model: Any = model.language_model
        try:
            missing, unexpected = language_model.load_state_dict(published.state_dict(), strict=False)
        except RuntimeError as error:  # torch's word for other shapes
            raise ValueError(f"model.text.weights: {' '.join(str(error).split())}") from error
        if wrong := [*unexpected, *(name for name in missing if ".adapter_" not in name)]:
            raise ValueError(f"model.text.weights: {source} does not fit: {', '.join(wrong[:5])}")
