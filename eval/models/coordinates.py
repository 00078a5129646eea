"""How models of others write boxes: the space of their numbers, declared and never guessed.

    unit100           0..100 of each side, whole numbers (this project, GeoChat)
    unit1000          0..1000 of each side, whole numbers (Qwen-VL, Qwen2-VL, Qwen3-VL, InternVL)
    unit1             0..1 of each side, three decimals (LLaVA-1.5)
    pixels            pixels of the image as it is
    pixels_of_input   pixels of the image as the model gets it (Qwen2.5-VL)

One answer has one reading. Whoever declares the wrong space sees a low score, not the better of two.

The size of `pixels_of_input` is not computed here: the model's own image processor is shown a blank image of
the same size and says what it makes of it (`resized_by`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from rsunivlm.codecs import BoxCodec, BoxReport

Size = tuple[int, int]  # width, height
_UNITS = {
    "unit100": (BoxCodec(100), "with coordinates from 0 to 100"),
    "unit1000": (BoxCodec(1000), "with coordinates from 0 to 1000"),
    "unit1": (BoxCodec(1, decimals=3), "with coordinates from 0 to 1"),
}
PIXELS, PIXELS_OF_INPUT = "pixels", "pixels_of_input"
SPACES = (*_UNITS, PIXELS, PIXELS_OF_INPUT)
_LARGEST = 1_000_000
_OUTSIDE = "clamped to the image"
# An odd shape: a processor that crops, pads or cuts into tiles gives itself away.
_PROBE = (517, 331)


def codec_of(space: str, resized: Callable[[Size], Size] | None = None) -> tuple[BoxCodec, str]:
    """The codec that reads and writes boxes of a space, and the space in words for a prompt.

    Args:
        space: one of `SPACES`.
        resized: for ``pixels_of_input``, the size that the model gets an image in.

    Raises:
        ValueError: no such space, or ``pixels_of_input`` without `resized`.
    """
    if space not in SPACES:
        raise ValueError(f"unknown coordinates {space!r}; known: {', '.join(SPACES)}")
    if space in _UNITS:
        return _UNITS[space]
    if space == PIXELS:
        return PixelBoxCodec(space=space), "in pixels of the image"
    if resized is None:
        raise ValueError(f"--coordinates {space}: nothing is known here about the size of the model's input")
    return PixelBoxCodec(space=space, resized=resized), "in pixels of the image"


def resized_by(image_processor: Any) -> Callable[[Size], Size]:
    """The (width, height) in which a model gets an image of a (width, height).

    Two kinds of processors of transformers say so: those of the Qwen-VL family give the grid of patches, and
    those that bring every image to one shape give that shape.

    Raises:
        ValueError: The processor crops, pads or cuts into tiles, so that there is no such size.
    """

    @lru_cache(maxsize=100_000)
    def resized(size: Size) -> Size:
        outputs = image_processor(images=[Image.new("RGB", size)], return_tensors="pt")
        if "image_grid_thw" in outputs:
            _, rows, columns = outputs["image_grid_thw"][0].tolist()
            return columns * image_processor.patch_size, rows * image_processor.patch_size
        pixels = outputs.get("pixel_values")
        changes = any(getattr(image_processor, name, False) for name in ("do_center_crop", "do_pad"))
        if changes or pixels is None or pixels.ndim != 4 or len(pixels) != 1:
            raise ValueError(
                f"--coordinates {PIXELS_OF_INPUT}: {type(image_processor).__name__} does not bring an image "
                "as a whole to one size (it crops, pads or cuts into tiles); declare another space"
            )
        return pixels.shape[3], pixels.shape[2]

    resized(_PROBE)
    return resized


@dataclass(frozen=True)
class PixelBoxCodec(BoxCodec):
    """Boxes in whole pixels of an image, or of a resized copy of it.

    Attributes:
        space: ``pixels`` or ``pixels_of_input``.
        resized: size of the image -> size in whose pixels boxes are written.
    """

    range: int = _LARGEST  # beyond any image; the frame depends on the image and is applied here
    space: str = PIXELS
    resized: Callable[[Size], Size] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The space: there is nothing else to know."""
        return {"coordinates": self.space}

    def encode_with_report(self, boxes_px: npt.ArrayLike, image_size: Size) -> tuple[str, BoxReport]:
        """See `BoxCodec.encode_with_report`."""
        frame, scale = self._frame(image_size)
        boxes = np.asarray(boxes_px, np.float64).reshape(-1, 4) * scale
        return super().encode_with_report(np.clip(boxes, 0, frame), (self.range, self.range))

    def decode(self, text: str, image_size: Size) -> tuple[npt.NDArray[np.float64], BoxReport]:
        """See `BoxCodec.decode`."""
        frame, scale = self._frame(image_size)
        written, report = self.decode_units(text)
        boxes = np.clip(written, 0, frame)
        kept = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        outside = int((boxes != written).any(axis=1).sum())
        if outside:
            dropped = report.dropped + int((~kept).sum())
            report = replace(
                report,
                repaired=min(report.repaired + outside, report.found - dropped),
                dropped=dropped,
                notes=(*report.notes, f"{_OUTSIDE}: {outside}"),
            )
        return boxes[kept] / scale, report

    def _frame(self, image_size: Size) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Width, height, width, height of the frame, and its size in pixels of the image."""
        frame = np.array(self.resized(image_size) * 2 if self.resized else image_size * 2, np.float64)
        return frame, frame / np.array(image_size * 2, np.float64)
