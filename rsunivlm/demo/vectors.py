"""Boxes and masks of a georeferenced picture as GeoJSON (RFC 7946: longitude and latitude on WGS 84)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rsunivlm.geo.grid import Grid

if TYPE_CHECKING:
    from rsunivlm.inference.answer import Answer


def to_geojson(answer: Answer, place: Grid) -> dict[str, Any]:
    """A feature for every box, and for every connected area of a mask; none for answers in words.

    A box becomes the polygon of its four corners, which on a rotated raster is no upright rectangle.

    Args:
        answer: Boxes and mask in pixels of `place`.
        place: A grid with a CRS.
    """
    from rasterio.features import shapes
    from rasterio.warp import transform_geom

    drawn: list[tuple[dict[str, Any], str]] = []
    if answer.boxes_px is not None:
        drawn += [(_polygon(box, place), "box") for box in answer.boxes_px.tolist()]
    if answer.mask is not None:
        classes = answer.mask.astype(np.uint8)
        drawn += [
            (geometry, answer.labels[int(value)])
            for geometry, value in shapes(classes, mask=classes > 0, transform=place.transform)
        ]
    features = [
        {
            "type": "Feature",
            "geometry": transform_geom(place.crs, "EPSG:4326", geometry),
            "properties": {"label": label, "task": str(answer.route.task)},
        }
        for geometry, label in drawn
    ]
    return {"type": "FeatureCollection", "features": features}


def _polygon(box: list[float], place: Grid) -> dict[str, Any]:
    x1, y1, x2, y2 = box
    ring = place.coordinates(np.array([(x1, y1), (x1, y2), (x2, y2), (x2, y1), (x1, y1)]))
    return {"type": "Polygon", "coordinates": [ring.tolist()]}
