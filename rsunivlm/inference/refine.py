"""Lets the edges of a coarse mask follow the edges of the image: the colour guided filter.

Within a small window the mask is explained as a linear function of the image's colours; where the colours
change at an edge, so does the mask (He, Sun and Tang, "Guided Image Filtering", ECCV 2010 and TPAMI 2013, the
colour case). It knows nothing of things: where one looks like its ground the edge blurs, and a stronger edge
nearby attracts it. It helps for some classes and harms for others, so it is an option and off by default.

Shapes: H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float64]

_PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))  # of the colours red, green, blue


class GuidedFilter:
    """A filter whose guide is one image; what the guide asks for is worked out once.

    Needs about 200 bytes a pixel: large scenes are filtered by tiles.
    """

    def __init__(self, image_HW3: npt.NDArray[np.uint8], radius: tuple[int, int], eps: float = 1e-3) -> None:
        """Prepare the filter.

        Args:
            image_HW3: the guide, 8-bit RGB.
            radius: half the height and half the width of the window, in pixels.
            eps: colour variance, with colours from 0 to 1, below which a window counts as flat.
        """
        self._guide = np.moveaxis(image_HW3, -1, 0) / 255.0
        self._radius = radius
        self._inside = _box_sum(np.ones(image_HW3.shape[:2]), radius)
        self._means = [self._mean(channel) for channel in self._guide]
        spread = {(i, j): self._mean(self._guide[i] * self._guide[j]) for i, j in _PAIRS}
        covariances = (spread[i, j] - self._means[i] * self._means[j] + eps * (i == j) for i, j in _PAIRS)
        self._inverse = _inverse(*covariances)

    def __call__(self, plane_HW: npt.ArrayLike) -> Plane:
        """Filter a plane, such as a mask or a probability; a plane of one value keeps it."""
        plane = np.asarray(plane_HW, dtype=np.float64)
        mean = self._mean(plane)
        shared = [
            self._mean(channel * plane) - own * mean
            for channel, own in zip(self._guide, self._means, strict=True)
        ]
        filtered = np.zeros_like(plane)
        for row, channel, own in zip(self._inverse, self._guide, self._means, strict=True):
            slope = row[0] * shared[0] + row[1] * shared[1] + row[2] * shared[2]
            filtered += self._mean(slope) * channel
            mean = mean - slope * own  # becomes the offset
        return filtered + self._mean(mean)

    def _mean(self, values_HW: Plane) -> Plane:
        return _box_sum(values_HW, self._radius) / self._inside


def refine_edges(
    mask_HW: npt.NDArray[np.integer[Any]], image_HW3: npt.NDArray[np.uint8], grid: int, eps: float = 1e-3
) -> npt.NDArray[np.integer[Any]]:
    """Move the edges of a mask that was read from a grid to edges of the image nearby.

    Args:
        mask_HW: class ids.
        image_HW3: the image that the mask belongs to, 8-bit RGB.
        grid: rows and columns of the grid that the mask came from; the window reaches half a cell.
        eps: see `GuidedFilter`.

    Returns:
        [H, W] class ids; ties go to the lower id.

    Raises:
        ValueError: the image is not RGB of the mask's size.
    """
    if image_HW3.shape != (*mask_HW.shape, 3):
        raise ValueError(
            f"edges need the RGB image of the mask: its shape is {[*image_HW3.shape]}, that of the mask "
            f"{[*mask_HW.shape]}"
        )
    first, *others = np.unique(mask_HW)
    refined = np.full_like(mask_HW, first)
    if not others:
        return refined
    height, width = mask_HW.shape
    guided = GuidedFilter(image_HW3, (max(1, round(height / grid / 2)), max(1, round(width / grid / 2))), eps)
    # The filter is linear and keeps constants: the planes of all classes add up to 1, and one comes for free.
    planes = [guided(mask_HW == number) for number in others]
    most = 1 - np.sum(planes, axis=0)
    for number, plane in zip(others, planes, strict=True):
        refined[plane > most] = number
        np.maximum(most, plane, out=most)
    return refined


def _box_sum(values_HW: Plane, radius: tuple[int, int]) -> Plane:
    """Sum over the window around each pixel, as far as it lies within the image."""
    for axis, reach in enumerate(radius):
        length = values_HW.shape[axis]
        edge = [(0, 0), (0, 0)]
        edge[axis] = (1, 0)
        sums = np.pad(np.cumsum(values_HW, axis=axis), edge)
        centre = np.arange(length)
        after, before = np.minimum(centre + reach + 1, length), np.maximum(centre - reach, 0)
        values_HW = np.take(sums, after, axis) - np.take(sums, before, axis)
    return values_HW


def _inverse(a: Plane, b: Plane, c: Plane, d: Plane, e: Plane, f: Plane) -> Sequence[Sequence[Plane]]:
    """Inverse of the matrix [[a, b, c], [b, d, e], [c, e, f]] at each pixel."""
    determinant = a * (d * f - e * e) - b * (b * f - c * e) + c * (b * e - c * d)
    aa, ab, ac = (d * f - e * e) / determinant, (c * e - b * f) / determinant, (b * e - c * d) / determinant
    bb, bc, cc = (a * f - c * c) / determinant, (b * c - a * e) / determinant, (a * d - b * b) / determinant
    return (aa, ab, ac), (ab, bb, bc), (ac, bc, cc)
