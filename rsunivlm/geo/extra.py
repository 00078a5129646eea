"""The packages of the extra `geo`: asked for once, so that a machine without them hears what to install."""

from __future__ import annotations

from importlib.util import find_spec

PACKAGES = ("rasterio", "geopandas", "pyogrio", "pyproj", "shapely")


def require_geo() -> None:
    """Check that the extra is installed.

    Raises:
        ValueError: A package is missing; the message names it and the command that installs it.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise ValueError(f"rasters need {', '.join(missing)}: pip install 'rsunivlm[geo]'")
