"""One expert as a dense checkpoint of ours: what stage 1 gives, in our classes. Every model has this form."""

from __future__ import annotations

import copy
from pathlib import Path

from rsunivlm.models.checkpoints.parts import Part
from rsunivlm.models.checkpoints.targets.dense_view import DenseView
from rsunivlm.models.checkpoints.targets.qwen2 import generation_config
from rsunivlm.models.checkpoints.targets.weights import write_parts
from rsunivlm.models.rsunivlm.processing_rsunivlm import RSUniVLMProcessor


def write_dense(view: DenseView, processor: RSUniVLMProcessor, folder: Path) -> None:
    """Write weights, configuration, processor and generation settings into a folder."""
    config = copy.deepcopy(view.config)
    config.architectures = ["RSUniVLMForConditionalGeneration"]
    dtype = write_parts(view, [Part(name, (), name) for name in view.names()], folder)
    for part in (config, config.text_config, config.vision_config):
        part.dtype = dtype
    config.save_pretrained(folder)
    processor = copy.copy(processor)
    processor.random_experts_seed = None  # there is one expert left
    processor.save_pretrained(folder)
    generation_config(processor).save_pretrained(folder)
