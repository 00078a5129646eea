"""Opening images from untrusted files: the one door through which pixels come in.

The pixel count is read from the header before anything is decoded, so that a small file that claims
300 megapixels costs nothing. A picture that cannot be read is an error that names the file; it is never
replaced by another one.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

# Pillow's own limit for a warning (2**30 / 4 / 3 pixels): beyond it a whole-image read makes no sense for a
# model that looks at 384 x 384 pixels. Larger rasters are read by windows.
MAX_PIXELS = 89_478_485
# Kinds of files that hold pixels. Pillow knows others that are programs (EPS starts Ghostscript).
FORMATS = ("PNG", "JPEG", "JPEG2000", "TIFF", "WEBP", "BMP", "GIF", "PPM")


def open_image(source: str | Path | bytes | Image.Image, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open an image as 8-bit RGB, upright.

    Args:
        source: A path, the file's bytes, or an already opened picture.
        max_pixels: Refuse images whose header claims more pixels than this.

    Returns:
        A fully decoded RGB picture with its EXIF rotation applied. 16-bit grey images are scaled from their
        own minimum and maximum to 8 bits.

    Raises:
        ValueError: The file is missing, empty, too large, truncated or no image; the message names it.
    """
    if isinstance(source, Image.Image):
        return _to_rgb(source)
    with _opened(source, max_pixels) as picture:
        picture.load()
        return _to_rgb(picture)


def image_size(source: str | Path | bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Width and height as stored, from the header alone: what `open_image` is going to need.

    Raises:
        ValueError: The file is missing, empty, too large or no image; the message names it.
    """
    with _opened(source, max_pixels) as picture:
        return picture.size


@contextmanager
def _opened(source: str | Path | bytes, max_pixels: int) -> Iterator[Image.Image]:
    """An image whose header was read and found within the limit; its errors become ValueErrors."""
    name = "image data" if isinstance(source, bytes) else str(source)
    if isinstance(source, bytes):
        size, stream = len(source), io.BytesIO(source)
    else:
        path = Path(source)
        if not path.is_file():
            raise ValueError(f"no such image file: {name}")
        size, stream = path.stat().st_size, None
    if size == 0:
        raise ValueError(f"image file is empty (0 bytes): {name}")
    try:
        with warnings.catch_warnings():
            # Pillow warns about sizes that the check below refuses anyway.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(stream if stream is not None else Path(name), formats=FORMATS) as picture:
                width, height = picture.size
                if width * height > max_pixels:
                    raise ValueError(
                        f"image is too large: {name} has {width} x {height} = {width * height / 1e6:.0f} "
                        f"megapixels, the limit is {max_pixels / 1e6:.0f}; cut it into tiles first"
                    )
                yield picture
    except Image.DecompressionBombError as error:
        raise ValueError(f"image is too large: {name}: {error}") from error
    except UnidentifiedImageError as error:
        raise ValueError(f"not a readable image: {name}") from error
    except (OSError, SyntaxError, EOFError) as error:  # Pillow raises SyntaxError for broken PNG chunks
        raise ValueError(f"image file is damaged or truncated: {name} ({error})") from error


def _to_rgb(picture: Image.Image) -> Image.Image:
    upright = ImageOps.exif_transpose(picture)
    if upright.mode in ("I", "I;16", "I;16B", "F"):
        low, high = upright.convert("F").getextrema()
        span = float(high) - float(low) or 1.0  # type: ignore[arg-type]
        upright = upright.convert("F").point(lambda value: (value - float(low)) * (255.0 / span))  # type: ignore[arg-type]
        return upright.convert("L").convert("RGB")
    return upright if upright.mode == "RGB" else upright.convert("RGB")
