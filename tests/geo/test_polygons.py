"""Strip by strip gives the polygons of the whole map."""

import numpy as np
import pytest
import shapely
import shapely.geometry
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rasterio.features import shapes

from rsunivlm.geo.polygons import polygons


def canonical(regions):
    return sorted((shapely.normalize(polygon).wkt, class_id) for polygon, class_id in regions)


def whole(ids, classes):
    found = shapes(ids, mask=(ids >= 1) & (ids <= classes), connectivity=4)
    return [(shapely.geometry.shape(outline), int(value)) for outline, value in found]


def in_strips(ids, rows, classes):
    return list(polygons(lambda top, bottom: ids[top:bottom], len(ids), rows, classes))


@settings(deadline=None, max_examples=150)
@given(
    arrays(
        np.uint8,
        st.tuples(st.integers(1, 14), st.integers(1, 14)),
        elements=st.sampled_from([0, 1, 1, 2, 255]),
        fill=st.nothing(),
    ),
    st.integers(1, 15),
)
def test_strips_give_the_polygons_of_the_whole_map(ids, rows):
    regions = in_strips(ids, rows, 2)
    # The text of a polygon holds all its vertices: no cut may leave any behind.
    assert canonical(regions) == canonical(whole(ids, 2))
    assert all(polygon.is_valid for polygon, _ in regions)


@pytest.mark.parametrize("rows", [1, 2, 3, 7])
def test_regions_that_wind_through_many_strips(rows):
    comb = np.zeros((21, 21), np.uint8)
    comb[:, ::2] = 1  # teeth that meet in the last row alone
    comb[-1] = 1
    spiral = np.ones((21, 21), np.uint8)
    for inset in range(1, 10, 2):  # rings of class 2, each with holes of class 1 and a gap
        spiral[inset:-inset, inset:-inset] = 2
        spiral[inset + 1 : -inset - 1, inset + 1 : -inset - 1] = 1
    for ids in (comb, spiral, comb.T.copy(), spiral[::-1].copy()):
        assert canonical(in_strips(ids, rows, 2)) == canonical(whole(ids, 2))


def test_a_region_is_given_out_as_soon_as_it_ends():
    read = []

    def read_rows(top, bottom):
        read.append(top)
        return np.array([[1], [0], [0], [1]], np.uint8)[top:bottom]

    regions = polygons(read_rows, 4, 1, 1)
    first, _ = next(regions)
    assert first.bounds == (0, 0, 1, 1)
    assert read == [0, 1]
