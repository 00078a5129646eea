"""Pictures to pixel tensors, as the released model was trained: one plain bicubic resize to the square.

PIL does the resizing, so that preprocessing needs no torchvision and gives the same bytes everywhere.

Shapes: N images, H = W = image_size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from transformers import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor

# The grey that official LLaVA code pads with; normalised by mean and std 0.5 it is -0.0039.
PAD_COLOUR = (127, 127, 127)


class RSUniVLMImageProcessor(BaseImageProcessor):
    """Convert to RGB, make square, resize (bicubic), scale to [0, 1], normalise.

    Args:
        image_size: Side of the square in pixels.
        image_mean: Per-channel mean.
        image_std: Per-channel standard deviation.
        resize_mode: `squash` ignores the aspect ratio; `pad` first pads to a centred square.
    """

    model_input_names = ["pixel_values"]

    def __init__(
        self,
        image_size: int = 384,
        image_mean: Sequence[float] = (0.5, 0.5, 0.5),
        image_std: Sequence[float] = (0.5, 0.5, 0.5),
        resize_mode: Literal["squash", "pad"] = "squash",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image_size = image_size
        self.image_mean = list(image_mean)
        self.image_std = list(image_std)
        self.resize_mode = resize_mode

    def __call__(self, images: Image.Image | Sequence[Image.Image], **kwargs: Any) -> BatchFeature:
        """Same as `preprocess`."""
        return self.preprocess(images, **kwargs)

    def preprocess(self, images: Image.Image | Sequence[Image.Image], **_: Any) -> BatchFeature:
        """Prepare pictures of any sizes.

        Args:
            images: One picture or several.

        Returns:
            `pixel_values` [N, 3, H, W] in float32.
        """
        pictures = [images] if isinstance(images, Image.Image) else list(images)
        pixels_NHWC = np.stack([self._square(picture) for picture in pictures])
        normalised = (
            torch.from_numpy(pixels_NHWC).float() / 255.0 - torch.tensor(self.image_mean)
        ) / torch.tensor(self.image_std)
        return BatchFeature({"pixel_values": normalised.permute(0, 3, 1, 2).contiguous()})

    def _square(self, picture: Image.Image) -> np.ndarray:
        picture = picture.convert("RGB")
        if self.resize_mode == "pad" and picture.width != picture.height:
            side = max(picture.size)
            square = Image.new("RGB", (side, side), PAD_COLOUR)
            square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
            picture = square
        size = (self.image_size, self.image_size)
        return np.array(picture.resize(size, Image.Resampling.BICUBIC) if picture.size != size else picture)
