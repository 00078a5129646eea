"""Pictures to pixel tensors, as the released model was trained: one plain bicubic resize to the square.

PIL does the resizing, so that preprocessing needs no torchvision and gives the same bytes everywhere.

Shapes: N images, H = W = image_size.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
import torch
from PIL import Image
from transformers import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor
from transformers.image_transforms import to_pil_image
from transformers.image_utils import ImageInput, make_flat_list_of_images

from rsunivlm.images import open_image
from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMVisionConfig

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

    @classmethod
    def for_config(cls, config: RSUniVLMVisionConfig) -> Self:
        """The image processor of a vision tower with this configuration."""
        return cls(config.image_size, config.image_mean, config.image_std, config.resize_mode)

    def __call__(self, images: ImageInput, **kwargs: Any) -> BatchFeature:
        """Same as `preprocess`."""
        return self.preprocess(images, **kwargs)

    def fetch_images(self, image_url_or_urls: Any) -> Any:
        """Open files as everywhere here (limits, EXIF rotation, 16 bits); URLs are left to transformers."""
        # `os.path`, not `Path`: base64 is too long for a file name, which only the former takes calmly.
        if isinstance(image_url_or_urls, str) and os.path.isfile(image_url_or_urls):
            return open_image(image_url_or_urls)
        return super().fetch_images(image_url_or_urls)

    def preprocess(
        self, images: ImageInput, return_tensors: str | None = None, **unknown: Any
    ) -> BatchFeature:
        """Prepare pictures of any sizes.

        Args:
            images: One picture or several; arrays and tensors as transformers takes them.
            return_tensors: Form of the result; torch tensors unless given.
            **unknown: Refused: size and normalisation are the checkpoint's, not the caller's.

        Returns:
            `pixel_values` [N, 3, H, W] in float32.

        Raises:
            ValueError: An unknown option.
        """
        if unknown:
            raise ValueError(f"the image processor has no options {', '.join(sorted(unknown))}")
        pictures = make_flat_list_of_images(images)
        pixels_NHWC = np.stack([np.array(self.square(picture)) for picture in pictures])
        normalised = (
            torch.from_numpy(pixels_NHWC).float() / 255.0 - torch.tensor(self.image_mean)
        ) / torch.tensor(self.image_std)
        pixels_NCHW = normalised.permute(0, 3, 1, 2).contiguous()
        return BatchFeature({"pixel_values": pixels_NCHW}, tensor_type=return_tensors)

    def square(self, given: Any) -> Image.Image:
        """A picture (or an array or tensor of one) in RGB at the model's size."""
        picture = open_image(given if isinstance(given, Image.Image) else to_pil_image(given))
        if self.resize_mode == "pad" and picture.width != picture.height:
            side = max(picture.size)
            square = Image.new("RGB", (side, side), PAD_COLOUR)
            square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
            picture = square
        size = (self.image_size, self.image_size)
        return picture.resize(size, Image.Resampling.BICUBIC) if picture.size != size else picture
