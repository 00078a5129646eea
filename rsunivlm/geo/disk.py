"""Files that grow beside a result, and what happens when the disk is full."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a full disk into one line that says how to go on.

    Args:
        path: what is being written.

    Raises:
        ValueError: in the place of an error of the system or of GDAL.
    """
    from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, GeometryError

    # rasterio.shutil lets GDAL's errors through, which have no public name.
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import RasterioError

    vector = (DataLayerError, DataSourceError, FeatureError, GeometryError)
    try:
        yield
    except (OSError, RasterioError, CPLE_BaseError, *vector) as error:
        free = shutil.disk_usage(path.parent).free / 1e6
        raise ValueError(
            f"cannot write {path.name} ({error.__cause__ or error}; {free:,.0f} MB free in {path.parent}). "
            "The answers so far are kept: make room and start the same command again to go on"
        ) from error


@dataclass
class Files:
    """Names of what is written beside a result while it grows.

    Attributes:
        out: the result.
        journal: answers so far; stays when a run is interrupted.
        report: stays.
        class_map: classes of pixels.
        package: polygons.
        partial: the result before it is complete.
    """

    out: Path
    journal: Path = field(init=False)
    report: Path = field(init=False)
    class_map: Path = field(init=False)
    package: Path = field(init=False)
    partial: Path = field(init=False)

    def __post_init__(self) -> None:
        name, hidden = self.out.name, f".{self.out.name}"
        self.journal = self.out.with_name(f"{name}.journal.jsonl")
        self.report = self.out.with_name(f"{name}.report.json")
        self.class_map = self.out.with_name(f"{hidden}.classes.tif")
        self.package = self.out.with_name(f"{hidden}.polygons.gpkg")
        self.partial = self.out.with_name(f"{hidden}.partial{self.out.suffix}")

    def clean(self) -> None:
        """Remove what a run leaves beside its result, but the journal and the report.

        SQLite's own journal of a package is no less dangerous than useful: played back into a new package of
        the same name it would damage it.
        """
        for path in (self.class_map, self.package, self.partial):
            for suffix in ("", "-journal", "-wal", "-shm", ".aux.xml"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
