"""Pixels to coordinates and back, between grids, and the sizes of pixels."""

import math

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from rsunivlm.geo.grid import Grid, between, coarsening, common_part, shift
from rsunivlm.inference.tiling import Window

UTM, DEGREES = CRS.from_epsg(32633), CRS.from_epsg(4326)


def grid(width=200, height=100, x=500000.0, y=4e6, pixel=0.5, angle=0.0, crs=UTM):
    cos, sin = pixel * math.cos(math.radians(angle)), pixel * math.sin(math.radians(angle))
    place = Affine(cos, sin, x, sin, -cos, y)
    return Grid(width, height, place, crs)


@given(st.floats(-180, 180), st.floats(-300, 300), st.floats(-300, 300))
def test_there_and_back(angle, column, row):
    turned = grid(angle=angle)
    points = np.array([[column, row], [0.0, 0.0]])
    there = turned.coordinates(points)
    assert np.allclose(turned.pixels(there), points, atol=1e-6)
    a, b, c, d, e, f = list(turned.transform)[:6]
    assert there[0] == pytest.approx([a * column + b * row + c, d * column + e * row + f])


def test_a_part_begins_where_its_window_does():
    turned = grid(angle=30)
    part = turned.part(Window(10, 20, 30, 40))
    assert part.size == (30, 40)
    assert np.allclose(part.coordinates(np.zeros(2)), turned.coordinates(np.array([10.0, 20.0])))
    assert shift(part, turned) == (10, 20)
    assert shift(turned, grid(angle=30.01)) is None
    assert shift(turned, grid(angle=30, crs=None)) is None
    assert shift(turned, grid(angle=30, x=500000.2)) is None


def test_sizes_of_pixels():
    assert grid(angle=40).pixel_metres() == pytest.approx((0.5, 0.5))
    feet = grid(crs=CRS.from_epsg(2263))  # New York, US survey feet
    assert feet.pixel_metres() == pytest.approx((0.5 * 1200 / 3937,) * 2)
    assert grid(crs=None).pixel_metres() is None
    # A degree of latitude is 110.574 km at the equator and 111.694 km at the pole (WGS 84).
    across, down = grid(x=10, y=0, pixel=1e-5, crs=DEGREES).pixel_metres()
    assert (across, down) == pytest.approx((1.11320, 1.10574), abs=2e-5)
    assert grid(x=10, y=60, pixel=1e-5, crs=DEGREES).pixel_metres()[0] == pytest.approx(0.558, abs=2e-4)


def test_resampling_keeps_the_ground():
    coarse = grid(angle=20).resampled(2)
    assert coarse.size == (50, 25)
    assert np.allclose(
        coarse.coordinates(np.array([[50.0, 25.0]])), grid(angle=20).coordinates(np.array([[200.0, 100.0]]))
    )
    assert coarsening(coarse, grid(angle=20)) == pytest.approx(4)
    # In degrees the pixels of a high latitude are slim; resampled, they are square on the ground.
    square = grid(x=10, y=60, pixel=1e-5, crs=DEGREES).resampled(1)
    assert square.pixel_metres() == pytest.approx((1, 1), rel=0.02)
    with pytest.raises(ValueError, match="--gsd needs a raster with a CRS"):
        grid(crs=None).resampled(1)


@settings(deadline=None)
@given(st.floats(0, 360), st.floats(0, 360), st.floats(0.2, 3), st.integers(-150, 150), st.integers(-80, 80))
def test_the_common_part_holds_what_both_cover(angle, other_angle, pixel, x, y):
    first = grid(angle=angle)
    second = grid(width=70, height=60, x=500000 + x, y=4e6 + y, pixel=pixel, angle=other_angle)
    common = common_part(first, second)
    columns, rows = np.meshgrid(np.arange(0.5, 200, 7), np.arange(0.5, 100, 7))
    centres = np.stack([columns.ravel(), rows.ravel()], axis=-1)
    seen = between(first, second, centres)
    both = centres[((seen > 0.05) & (seen < np.array(second.size) - 0.05)).all(axis=1)]
    if common is None:
        assert len(both) == 0
    else:
        assert (
            (both > [common.x, common.y]) & (both < [common.x + common.width, common.y + common.height])
        ).all()


def test_common_part_across_crs():
    first = grid()
    degrees = Grid(1000, 1000, Affine(1e-6, 0, 15.0, 0, -1e-6, 36.14472), DEGREES)
    common = common_part(first, degrees)
    assert (common.x, common.y) == (0, 0)
    assert 175 <= common.width <= 185  # 0.001 degrees at 36 degrees north are 90 m
    assert common_part(first, Grid(10, 10, Affine(1e-6, 0, 100.0, 0, -1e-6, 0), DEGREES)) is None


def test_a_neighbour_that_shares_only_a_border_is_not_common():
    assert common_part(grid(), grid(x=500100)) is None
    assert common_part(grid(), grid(x=500000, width=400)) == Window(0, 0, 200, 100)
