"""Polygons with attributes to GeoPackage, GeoJSON and FlatGeobuf, in pieces that fit in memory.

Only a GeoPackage can grow, so polygons are first written to one; the other formats are made from it by a
stream. GeoJSON is in longitude and latitude (EPSG:4326, 7 decimals), as RFC 7946 demands; everything else
stays in the CRS of the scene.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rsunivlm.geo.grid import Grid

DRIVERS = {".gpkg": "GPKG", ".geojson": "GeoJSON", ".fgb": "FlatGeobuf"}
# Polygons are written when so many, or so many of their vertices, have come together.
_FEATURES, _VERTICES = 20_000, 500_000


class GeoPackage:
    """A GeoPackage that is being written; polygons come in pixels of a grid."""

    def __init__(self, path: Path, grid: Grid) -> None:
        """Begin the file, in the place of one that is there."""
        path.unlink(missing_ok=True)
        self.path, self._grid = path, grid
        self.counts: dict[str, int] = {}
        self._waiting: dict[str, list[tuple[Any, dict[str, Any]]]] = {}
        self._vertices = 0

    def add(self, layer: str, polygon: Any, **attributes: Any) -> None:
        """Add a `shapely.Polygon`; the polygons of a layer all have the same attributes."""
        import shapely

        self._waiting.setdefault(layer, []).append((polygon, attributes))
        self._vertices += shapely.get_num_coordinates(polygon)
        if self._vertices > _VERTICES or len(self._waiting[layer]) >= _FEATURES:
            self.flush()

    def begin(self, layer: str, columns: dict[str, str]) -> None:
        """Make an empty layer, so that it is there if nothing is found; columns are NumPy types by name."""
        self._write(layer, {name: np.array([], kind) for name, kind in columns.items()}, [])
        self.counts[layer] = 0

    def flush(self) -> None:
        """Write what is waiting.

        Raises:
            pyogrio.errors.DataSourceError: the disk is full.
        """
        for layer, features in self._waiting.items():
            names = features[0][1]
            columns = {name: np.array([attributes[name] for _, attributes in features]) for name in names}
            self._write(layer, columns, [polygon for polygon, _ in features])
            self.counts[layer] += len(features)
        self._waiting, self._vertices = {}, 0

    def _write(self, layer: str, columns: dict[str, Any], polygons: Sequence[Any]) -> None:
        import geopandas
        import pyogrio
        import shapely

        placed = shapely.transform(np.array(polygons, object), self._grid.coordinates)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "'crs' was not provided")  # the scene has none either
            pyogrio.write_dataframe(
                geopandas.GeoDataFrame(columns, geometry=placed, crs=crs_text(self._grid)),
                self.path,
                layer=layer,
                driver="GPKG",
                geometry_type="Polygon",
                append=self.path.exists() and layer in self.counts,
            )


def check_complete(path: Path, layer: str, count: int) -> None:
    """See that a file holds its last polygon: GDAL does not say if the disk is full when it closes a file.

    Raises:
        OSError: it does not.
        pyogrio.errors.DataSourceError: it cannot even be opened.
    """
    import pyogrio

    if count and len(pyogrio.read_dataframe(path, layer=layer, skip_features=count - 1)) != 1:
        raise OSError(f"{path.name} is incomplete")


def crs_text(grid: Grid) -> str | None:
    """The CRS of a grid as `EPSG:...` where it has a number, else as WKT; None without one."""
    if grid.crs is None:
        return None
    number = grid.crs.to_epsg()
    return f"EPSG:{number}" if number else str(grid.crs.to_wkt())


def convert(package: Path, layer: str, out: Path) -> None:
    """One layer of a GeoPackage as GeoJSON or FlatGeobuf, by the suffix of `out`.

    Raises:
        pyogrio.errors.DataSourceError: the disk is full.
    """
    import pyogrio

    driver = DRIVERS[out.suffix.lower()]
    out.unlink(missing_ok=True)
    with (
        pyogrio.open_arrow(package, layer=layer, use_pyarrow=False) as (about, stream),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "'crs' was not provided")
        # Without a CRS there is no longitude and latitude to go to.
        options = {"RFC7946": "YES"} if driver == "GeoJSON" and about["crs"] else {}
        pyogrio.write_arrow(
            stream,
            out,
            layer=layer,
            driver=driver,
            geometry_name=about["geometry_name"],
            geometry_type="Polygon",
            crs=about["crs"],
            **options,
        )
