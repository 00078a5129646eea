"""A GeoTIFF on the page: right bands, right stretch, right place on the ground, bounded by its header."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rsunivlm.demo import rasters
from rsunivlm.demo.rasters import read_geotiff

rasterio = pytest.importorskip("rasterio")
LIMIT = 10**6
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # of `write`


def write(path: Path, pixels_CHW: np.ndarray, **profile: Any) -> Path:
    count, height, width = pixels_CHW.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width, dtype=pixels_CHW.dtype, **profile
    ) as raster:
        raster.write(pixels_CHW)
    return path


def test_8_bit_colours_are_taken_as_they_are(tmp_path: Path) -> None:
    pixels_CHW = np.random.default_rng(0).integers(0, 256, (3, 5, 7), dtype=np.uint8)
    scene = read_geotiff(write(tmp_path / "a.tif", pixels_CHW, photometric="rgb"), LIMIT)
    np.testing.assert_array_equal(np.asarray(scene.picture), pixels_CHW.transpose(1, 2, 0))
    assert scene.place is None
    assert "no CRS" in scene.notes[-1]


def test_16_bits_are_stretched_and_nodata_is_black(tmp_path: Path) -> None:
    band_HW = np.arange(101, dtype=np.uint16).reshape(1, 101) * 10 + 100  # 2nd percentile 120, 98th 1080
    band_HW = np.concatenate([band_HW, np.zeros((1, 101), np.uint16)])  # nodata must not count
    upload = read_geotiff(write(tmp_path / "a.tif", band_HW[None], nodata=0), LIMIT)
    grey = np.asarray(upload.picture)
    assert (grey[..., 0] == grey[..., 2]).all()
    assert grey[0, [0, 2, 98, 100], 0].tolist() == [0, 0, 255, 255]
    assert grey[0, 50, 0] == pytest.approx(127.5, abs=0.6)
    assert not grey[1].any()
    assert "stretched between percentiles 2 and 98" in upload.notes


def test_bands_are_chosen_by_number(tmp_path: Path) -> None:
    pixels_CHW = np.arange(4, dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2) + 10
    path = write(tmp_path / "a.tif", pixels_CHW)

    def shown(bands: str = "") -> list[int]:
        return np.asarray(read_geotiff(path, LIMIT, bands=bands).picture)[0, 0].tolist()

    assert shown() == [10, 11, 12]
    assert shown("4, 3,2") == [13, 12, 11]
    assert shown("4") == [13, 13, 13]
    for bands in ("1,2", "0", "5,1,1", "red"):
        with pytest.raises(ValueError, match="band"):
            shown(bands)


def test_reduced_picture_keeps_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rasters, "PICTURE_SIDE", 50)
    transform = rasterio.Affine(0.6, 0.8, 400_000, 0.8, -0.6, 5_000_000)  # 1 m pixels, rotated
    pixels_CHW = np.zeros((3, 60, 100), np.uint8)
    scene = read_geotiff(write(tmp_path / "a.tif", pixels_CHW, transform=transform, crs="EPSG:32633"), LIMIT)
    assert (scene.size, scene.picture.size) == ((100, 60), (50, 30))
    np.testing.assert_allclose(scene.place.coordinates(np.array([50, 30])), transform @ (100, 60))
    assert "reduced to 50 x 30 pixels" in scene.notes
    assert "CRS EPSG:32633" in scene.notes


def test_header_that_claims_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.tif", np.zeros((3, 100, 100), np.uint8))
    with pytest.raises(ValueError, match="100 x 100"):
        read_geotiff(path, 9999)
    monkeypatch.setattr(rasters, "MAX_BLOCK_BYTES", 1000)
    with pytest.raises(ValueError, match="TILED=YES"):
        read_geotiff(path, LIMIT)


def test_corrupt_tile_is_an_error(tmp_path: Path) -> None:
    noise_CHW = np.random.default_rng(0).integers(0, 256, (3, 256, 256), dtype=np.uint8)
    path = write(
        tmp_path / "a.tif", noise_CHW, compress="deflate", tiled=True, blockxsize=128, blockysize=128
    )
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 2000] = bytes(2000)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a.tif"):
        read_geotiff(path, LIMIT)


def test_complex_values_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", np.zeros((1, 4, 4), np.complex64))
    with pytest.raises(ValueError, match="complex64"):
        read_geotiff(path, LIMIT)
