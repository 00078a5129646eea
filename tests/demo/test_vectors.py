"""Vectors land where the raster says, in longitude and latitude."""

from __future__ import annotations

import numpy as np
import pytest

from rsunivlm.demo.vectors import to_geojson
from rsunivlm.geo.grid import Grid
from rsunivlm.inference.answer import Answer
from rsunivlm.tasks import route

rasterio = pytest.importorskip("rasterio")


def grid(epsg: int, coefficients: tuple[float, ...]) -> Grid:
    return Grid(100, 100, rasterio.Affine(*coefficients), rasterio.crs.CRS.from_epsg(epsg))


def test_box_on_a_rotated_raster_is_the_polygon_of_its_corners() -> None:
    place = grid(4326, (0.006, 0.008, 10.0, 0.008, -0.006, 50.0))
    answer = Answer("x", route("[VG] x"), boxes_px=np.array([[10.0, 20.0, 30.0, 40.0]]))
    (feature,) = to_geojson(answer, place)["features"]
    # By hand for (10, 20): 10 + 0.06 + 0.16, 50 + 0.08 - 0.12.
    expected = [(10.22, 49.96), (10.38, 49.84), (10.5, 50.0), (10.34, 50.12), (10.22, 49.96)]
    np.testing.assert_allclose(np.squeeze(feature["geometry"]["coordinates"]), expected)
    assert feature["properties"] == {"label": "box", "task": "vg"}


def test_areas_of_a_mask_have_labels_and_lie_in_their_utm_zone() -> None:
    mask = np.zeros((10, 10), np.uint8)
    mask[:2, :2], mask[5:, 5:] = 1, 2
    answer = Answer("x", route("[SEG] x"), mask=mask, labels=("others", "road", "water"))
    place = grid(32633, (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0))
    features = to_geojson(answer, place)["features"]
    assert [feature["properties"]["label"] for feature in features] == ["road", "water"]
    # Zone 33 has its central meridian at 15 degrees, easting 500 km; northing 5,000 km is near 45.15 north.
    ring = np.array(features[0]["geometry"]["coordinates"][0])
    assert ring[:, 0].min() == pytest.approx(15.0, abs=1e-9)
    assert ring[:, 1].max() == pytest.approx(45.1535, abs=1e-3)
    metres = np.ptp(ring, axis=0) * [111_320 * np.cos(np.radians(45.15)), 111_130]
    np.testing.assert_allclose(metres, [20, 20], rtol=0.01)
