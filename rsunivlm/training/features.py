"""Filling the feature file before training: every image through tower and connector, once.

Processes share the images; a run that was killed on the way continues where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from rsunivlm.data.dataset import RunSamples
from rsunivlm.data.features import FeatureFile, ImageKey
from rsunivlm.data.records import resolve_image
from rsunivlm.images import open_image
from rsunivlm.models.chat import ChatProcessor
from rsunivlm.models.checksum import weights_checksum
from rsunivlm.training.recipe import Recipe

BATCH_SIZE = 16


@dataclass(frozen=True)
class ImageEncoder:
    """What makes embeddings of images in a model.

    Attributes:
        parts: Its modules by their names in messages.
        size: Tokens of an image and their width, S and D.
        encode: Pixels [N, 3, H, W] to embeddings [N, S, D].
    """

    parts: Mapping[str, nn.Module]
    size: tuple[int, int]
    encode: Callable[[Tensor], Tensor]


def attach_features(
    model: nn.Module,
    encoder: ImageEncoder,
    processor: ChatProcessor,
    samples: RunSamples,
    recipe: Recipe,
    *,
    device: torch.device,
    bf16: bool,
    rank: int,
    processes: int,
) -> None:
    """Compute the embeddings of a run's images, or find them, and let the samples use them.

    All processes call it. Images that cannot be read are noted in the loader where it may leave samples out.

    Raises:
        ValueError: The encoder is trained, so that embeddings would change; or an image cannot be read and
            must not be left out.
    """
    parts = encoder.parts.values()
    if any(parameter.requires_grad for part in parts for parameter in part.parameters()):
        raise ValueError(
            f"feature_cache needs {' and '.join(encoder.parts)} that are not trained in this stage"
        )
    owner = json.dumps(
        [*(weights_checksum(part) for part in parts), processor.image_processor.to_dict(), bf16],
        sort_keys=True,
        default=str,
    )
    keys = samples.loader.images(samples.plan)
    file = FeatureFile.plan(Path(recipe.feature_cache), owner, keys, encoder.size, recipe.feature_cache_gb)
    if rank == 0:
        file.create()
    _wait(processes)
    mine = file.missing()[rank::processes]
    _wait(processes)  # nobody writes before everybody has read what is missing
    pictures = DataLoader(
        _Pictures(mine, processor, samples.loader.leave_out),
        BATCH_SIZE,
        num_workers=recipe.workers,
        collate_fn=list,
    )
    bad: list[tuple[ImageKey, str]] = []
    model.to(device).eval()
    progress = tqdm(pictures, "image features", disable=rank != 0, unit_scale=BATCH_SIZE, unit=" images")
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        for number, found in enumerate(progress):
            keyed = list(zip(mine[number * BATCH_SIZE :], found, strict=False))
            bad += [(key, reason) for key, reason in keyed if isinstance(reason, str)]
            good = {key: pixels for key, pixels in keyed if isinstance(pixels, torch.Tensor)}
            if good:
                pixels_NCHW = torch.cat(list(good.values())).to(device)
                file.write(list(good), encoder.encode(pixels_NCHW))
    # Also the wait until every process has written its share.
    samples.loader.bad_images |= dict(gather_object(bad))
    samples.loader.features = file


class _Pictures(Dataset[torch.Tensor | str]):
    """Pixels [1, 3, H, W] of each image, or what is wrong with it."""

    def __init__(self, keys: Sequence[ImageKey], processor: ChatProcessor, leave_out: bool) -> None:
        self.keys = keys
        self.processor = processor
        self.leave_out = leave_out

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> torch.Tensor | str:
        try:
            picture = open_image(resolve_image(*self.keys[index]))
        except ValueError as error:
            if not self.leave_out:
                raise
            return str(error)
        return self.processor.preprocess_images([picture])


def _wait(processes: int) -> None:
    if processes > 1:
        torch.distributed.barrier()
