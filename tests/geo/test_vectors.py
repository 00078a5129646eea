"""A GeoPackage grows piece by piece and becomes the other formats."""

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import shapely
from affine import Affine
from rasterio.crs import CRS

from rsunivlm.geo import vectors
from rsunivlm.geo.disk import writing
from rsunivlm.geo.grid import Grid
from rsunivlm.geo.vectors import GeoPackage, check_complete, convert, crs_text

# A transverse Mercator projection that has no EPSG number.
OWN = CRS.from_proj4("+proj=tmerc +lat_0=50 +lon_0=11.3 +k=1 +x_0=5000 +y_0=7000 +ellps=GRS80 +units=m")


def grid(crs):
    return Grid(100, 100, Affine(2, 0, 5000, 0, -2, 7000), crs)


@pytest.mark.parametrize("crs", [CRS.from_epsg(32633), OWN, None], ids=["utm", "own", "none"])
def test_pieces_and_formats(tmp_path, monkeypatch, crs):
    monkeypatch.setattr(vectors, "_FEATURES", 3)
    package = GeoPackage(tmp_path / "a.gpkg", grid(crs))
    package.begin("boxes", {"class": "U1", "tile": "i8"})
    for number in range(10):
        box = shapely.box(number, 0, number + 1, 1)
        package.add("boxes", box, **{"class": f"of some length {number}", "tile": number})
    package.flush()
    assert package.counts == {"boxes": 10}
    expected = [(5000 + 2 * n, 6998, 5002 + 2 * n, 7000) for n in range(10)]
    for suffix in (".gpkg", ".fgb", ".geojson"):
        out = tmp_path / f"b{suffix}" if suffix != ".gpkg" else package.path
        if suffix != ".gpkg":
            convert(package.path, "boxes", out)
        frame = gpd.read_file(out).sort_values("tile")
        assert frame["class"].tolist() == [f"of some length {n}" for n in range(10)]
        if suffix == ".geojson" and crs is not None:
            assert frame.crs == "EPSG:4326"
            frame = frame.to_crs(crs_text(grid(crs)))
        elif crs is not None:
            assert frame.crs == crs.to_wkt()
        assert np.allclose(frame.bounds.to_numpy(), expected, atol=0.03)


def test_an_empty_layer_is_there(tmp_path):
    package = GeoPackage(tmp_path / "a.gpkg", grid(OWN))
    package.begin("boxes", {"class": "U1", "tile": "i8"})
    package.flush()
    info = pyogrio.read_info(package.path)
    assert (info["layer_name"], info["features"], list(info["fields"])) == ("boxes", 0, ["class", "tile"])
    convert(package.path, "boxes", tmp_path / "a.fgb")
    assert len(gpd.read_file(tmp_path / "a.fgb")) == 0


def test_a_file_cut_short_is_noticed(tmp_path):
    package = GeoPackage(tmp_path / "a.gpkg", grid(OWN))
    package.begin("boxes", {"tile": "i8"})
    for number in range(100):
        package.add("boxes", shapely.box(number, 0, number + 1, 1), tile=number)
    package.flush()
    for suffix in (".fgb", ".geojson"):
        out = tmp_path / f"a{suffix}"
        convert(package.path, "boxes", out)
        check_complete(out, "boxes", 100)
        with out.open("r+b") as file:
            file.truncate(out.stat().st_size - 10)
        with (
            pytest.raises(ValueError, match=r"cannot write a\.out .*start the same command again"),
            writing(tmp_path / "a.out"),
        ):
            check_complete(out, "boxes", 100)
    with pytest.raises(OSError, match="is incomplete"):
        check_complete(package.path, "boxes", 101)
