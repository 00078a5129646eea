"""From an uploaded file to a picture: a GeoTIFF with its bands and its place, or a plain image.

Which of them it is, its first bytes say, and never its name.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from rsunivlm.demo.limits import Limits
from rsunivlm.geo.grid import Grid
from rsunivlm.images import open_image

FILE_TYPES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two: BigTIFF


@dataclass(frozen=True)
class Upload:
    """An uploaded file that was read.

    Attributes:
        name: File name, for messages and downloads.
        picture: RGB; of a large raster a reduced copy.
        size: (width, height) in pixels of the file.
        place: Where the pixels of `picture` lie on the ground; None for plain images and rasters without CRS.
        notes: What the visitor should know about the reading, e.g. which bands are shown.
    """

    name: str
    picture: Image.Image
    size: tuple[int, int]
    place: Grid | None = None
    notes: tuple[str, ...] = ()


def read_upload(path: str | Path, limits: Limits, *, bands: str = "") -> Upload:
    """Read an uploaded image or GeoTIFF.

    Args:
        path: The uploaded file.
        limits: Pixel limits, checked before anything is decoded.
        bands: Bands of a GeoTIFF as `"4,3,2"`; empty chooses.

    Raises:
        ValueError: Not an image of a known kind, too large, damaged, or no such bands; names the file but
            not its folder.
    """
    file = Path(path)
    try:
        tiff = _is_tiff(file)
        if tiff and find_spec("rasterio") is not None:
            from rsunivlm.demo.rasters import read_geotiff

            return read_geotiff(file, limits.max_raster_pixels, bands=bands)
        picture = open_image(file, max_pixels=limits.max_pixels)
    except ValueError as error:
        raise ValueError(str(error).replace(str(file), file.name)) from error
    notes = () if not tiff else ("read without its georeference, which needs the extra: rsunivlm[geo]",)
    return Upload(file.name, picture, picture.size, notes=notes)


def _is_tiff(file: Path) -> bool:
    if not file.is_file():
        raise ValueError(f"the upload {file} is gone; choose the file again")
    with file.open("rb") as stream:
        return stream.read(4).startswith(_TIFF)
