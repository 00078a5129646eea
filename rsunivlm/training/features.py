"""Filling the feature file before training: every image through tower and connector, once.

Processes share the images; a run that was killed on the way continues where it was.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from rsunivlm.data.dataset import PackedSamples, TrainingSamples
from rsunivlm.data.features import FeatureFile, ImageKey
from rsunivlm.data.records import resolve_image
from rsunivlm.images import open_image
from rsunivlm.models.checksum import weights_checksum
from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration
from rsunivlm.models.rsunivlm.processing_rsunivlm import RSUniVLMProcessor
from rsunivlm.training.recipe import Recipe

BATCH_SIZE = 16


def attach_features(
    model: RSUniVLMForConditionalGeneration,
    processor: RSUniVLMProcessor,
    samples: TrainingSamples | PackedSamples,
    recipe: Recipe,
    *,
    device: torch.device,
    bf16: bool,
    rank: int,
    processes: int,
) -> None:
    """Compute the embeddings of a run's images, or find them, and let the samples use them.

    All processes call it.

    Raises:
        ValueError: Tower or connector are trained, so that embeddings would change; or an image cannot be
            read.
    """
    core = model.model
    parts = (core.vision_tower, core.multi_modal_projector)
    if any(parameter.requires_grad for part in parts for parameter in part.parameters()):
        raise ValueError("feature_cache needs a vision tower and connector that are not trained (stage 2)")
    owner = json.dumps(
        [*(weights_checksum(part) for part in parts), processor.image_processor.to_dict(), bf16],
        sort_keys=True,
        default=str,
    )
    size = (model.config.num_image_tokens, model.config.text_config.hidden_size)
    keys = samples.loader.images(samples.plan)
    file = FeatureFile.plan(Path(recipe.feature_cache), owner, keys, size, recipe.feature_cache_gb)
    if rank == 0:
        file.create()
    _wait(processes)
    mine = file.missing()[rank::processes]
    pictures = DataLoader(
        _Pictures(mine, processor), BATCH_SIZE, num_workers=recipe.workers, collate_fn=torch.cat
    )
    model.to(device).eval()
    progress = tqdm(pictures, "image features", disable=rank != 0, unit_scale=BATCH_SIZE, unit=" images")
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        for number, pixels_NCHW in enumerate(progress):
            embeddings_NSD = core.get_image_features(pixels_NCHW.to(device)).pooler_output
            file.write(mine[number * BATCH_SIZE : (number + 1) * BATCH_SIZE], embeddings_NSD)
    _wait(processes)
    samples.loader.features = file


class _Pictures(Dataset[torch.Tensor]):
    """Pixels [1, 3, H, W] of each image."""

    def __init__(self, keys: Sequence[ImageKey], processor: RSUniVLMProcessor) -> None:
        self.keys = keys
        self.processor = processor

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.processor.preprocess_images([open_image(resolve_image(*self.keys[index]))])


def _wait(processes: int) -> None:
    if processes > 1:
        torch.distributed.barrier()
