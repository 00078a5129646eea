"""The guided filter against its definition, window by window, and what it does to an edge."""

from __future__ import annotations

import numpy as np
import pytest

from rsunivlm.inference.refine import GuidedFilter, refine_edges


def by_definition(image: np.ndarray, plane: np.ndarray, radius: tuple[int, int], eps: float) -> np.ndarray:
    """Each window's least-squares fit, then the mean of all fits that cover a pixel."""
    colours = image / 255.0
    height, width = plane.shape

    def window(y: int, x: int) -> tuple[slice, slice]:
        rows = slice(max(0, y - radius[0]), y + radius[0] + 1)
        return rows, slice(max(0, x - radius[1]), x + radius[1] + 1)

    slopes, offsets = np.zeros((height, width, 3)), np.zeros((height, width))
    for y, x in np.ndindex(height, width):
        inside, wanted = colours[window(y, x)].reshape(-1, 3), plane[window(y, x)].ravel()
        # Ridge regression: the fit with the smallest error plus eps times the squared slopes.
        centred = inside - inside.mean(axis=0)
        system = np.vstack([centred, np.sqrt(eps * len(inside)) * np.eye(3)])
        target = np.concatenate([wanted - wanted.mean(), np.zeros(3)])
        slopes[y, x] = np.linalg.lstsq(system, target, rcond=None)[0]
        offsets[y, x] = wanted.mean() - slopes[y, x] @ inside.mean(axis=0)
    result = np.zeros((height, width))
    for y, x in np.ndindex(height, width):
        near = window(y, x)
        result[y, x] = slopes[near].reshape(-1, 3).mean(axis=0) @ colours[y, x] + offsets[near].mean()
    return result


@pytest.mark.parametrize("radius", [(1, 1), (2, 4), (30, 30)])
def test_the_filter_is_its_definition(radius):
    draw = np.random.default_rng(0)
    image, plane = draw.integers(0, 256, (14, 19, 3), dtype=np.uint8), draw.random((14, 19))
    expected = by_definition(image, plane, radius, 1e-2)
    np.testing.assert_allclose(GuidedFilter(image, radius, 1e-2)(plane), expected, atol=1e-10)


def test_an_edge_moves_to_the_edge_of_the_image():
    image = np.full((48, 48, 3), 60, np.uint8)
    image[:, 20:] = 180
    mask = np.zeros((48, 48), np.uint8)
    mask[:, 22:] = 2  # two pixels off
    refined = refine_edges(mask, image, grid=4)
    assert (refined == np.where(image[..., 0] > 100, 2, 0)).all()
    assert refined.dtype == mask.dtype


def test_three_classes_and_one():
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, 20:40, 0], image[:, 40:, 1] = 255, 255
    mask = np.repeat(np.array([[4, 0, 7]]), [22, 20, 18], axis=1).repeat(40, axis=0)
    assert (refine_edges(mask, image, grid=5)[0] == np.repeat([4, 0, 7], 20)).all()
    alone = np.full((40, 60), 3)
    assert (refine_edges(alone, image, grid=5) == 3).all()


def test_another_picture_is_refused():
    with pytest.raises(ValueError, match=r"\[10, 10, 3\], that of the mask \[10, 12\]"):
        refine_edges(np.zeros((10, 12), int), np.zeros((10, 10, 3), np.uint8), grid=4)
