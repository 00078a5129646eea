import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rsunivlm.images import image_size, open_image


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 100) + b"IDAT"


def test_missing_empty_and_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no such image file: .*gone\.png"):
        open_image(tmp_path / "gone.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(ValueError, match=r"0 bytes.*empty\.png"):
        open_image(tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(ValueError, match=r"not a readable image: .*text\.png"):
        open_image(tmp_path / "text.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_truncated_files_are_refused(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    whole = tmp_path / f"whole.{suffix}"
    Image.fromarray(noise).save(whole)
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert open_image(whole).size == (64, 64)
    with pytest.raises(ValueError, match=rf"cut\.{suffix}"):
        open_image(cut)


@pytest.mark.parametrize("side", [10_000, 17_321, 60_000])  # 100, 300 and 3,600 megapixels
def test_size_is_refused_from_the_header_alone(tmp_path: Path, side: int) -> None:
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png_header(side, side))
    with pytest.raises(ValueError, match=r"too large: .*bomb\.png"):
        open_image(bomb)
    with pytest.raises(ValueError, match="too large: image data"):
        image_size(bomb.read_bytes())


def test_size_is_read_without_pixels() -> None:
    assert image_size(png_header(640, 480)) == (640, 480)


def test_formats_that_are_programs_are_refused() -> None:
    with pytest.raises(ValueError, match="not a readable image"):
        open_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")


def test_modes_become_upright_rgb(tmp_path: Path) -> None:
    ramp = (np.arange(64 * 32, dtype=np.uint16).reshape(32, 64) * 16).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "deep.tif")
    grey = np.asarray(open_image(tmp_path / "deep.tif"))
    assert grey.shape == (32, 64, 3)
    assert (grey[0, 0, 0], grey[-1, -1, 0]) == (0, 255)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    Image.new("RGB", (20, 10)).save(tmp_path / "turned.jpg", exif=exif)
    assert open_image(tmp_path / "turned.jpg").size == (10, 20)
    for mode in ("P", "L", "RGBA", "CMYK", "1"):
        assert open_image(Image.new(mode, (4, 4))).mode == "RGB"
