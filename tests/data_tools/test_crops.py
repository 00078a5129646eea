"""Windows cover a raster as promised, and reading one costs no more than the window."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

from data_tools.crops import Window, open_raster, save_crop, windows

SIZES = st.tuples(st.integers(1, 70), st.integers(1, 70))

# Width x height of the tiles of the ISPRS contest at Vaihingen, in the order of their areas.
VAIHINGEN = {
    "train": "1919x2569 2006x3007 1887x2557 1887x2557 1893x2566 2818x2558 1919x2565 2336x1281 1903x2546 "
    "1903x2546 2995x1783 1917x2567 1934x2563 1980x2555 1388x2555 1996x1995",
    "test": "2428x2767 1887x2557 1887x2557 1887x2557 1887x2557 1922x2575 1919x2565 1919x2565 1866x2315 "
    "1903x2546 1903x2546 1917x3313 1917x2563 1980x2555 1581x2555 2805x1884 3816x2550",
}


@given(SIZES, st.integers(1, 80))
def test_moved_windows_cover_every_pixel_and_stay_inside(size: tuple[int, int], side: int) -> None:
    seen = np.zeros(size[::-1], int)
    found = list(windows(size, side))
    for window in found:
        assert (window.width, window.height) == (min(side, size[0]), min(side, size[1]))
        part = seen[window.y : window.y + window.height, window.x : window.x + window.width]
        assert part.shape == (window.height, window.width)
        part += 1
    assert (seen > 0).all()
    assert len(found) == -(-size[0] // side) * -(-size[1] // side)  # no more than needed


@given(SIZES, st.integers(1, 80))
def test_dropped_windows_are_full_and_disjoint(size: tuple[int, int], side: int) -> None:
    seen = np.zeros(size[::-1], int)
    found = list(windows(size, side, rest="drop"))
    for window in found:
        assert (window.width, window.height) == (side, side)
        seen[window.y : window.y + side, window.x : window.x + side] += 1
    assert len(found) * side * side == seen.sum() == (seen == 1).sum()
    assert len(found) == (size[0] // side) * (size[1] // side)


def test_published_numbers_of_crops() -> None:
    def count(size: tuple[int, int], side: int, **options: str) -> int:
        return sum(1 for _ in windows(size, side, **options))

    assert (24 * count((6000, 6000), 512), 14 * count((6000, 6000), 512)) == (3456, 2016)  # Potsdam
    sizes = {
        split: [tuple(map(int, size.split("x"))) for size in text.split()]
        for split, text in VAIHINGEN.items()
    }
    tiles = {split: sum(count(size, 512) for size in found) for split, found in sizes.items()}
    assert tiles == {"train": 344, "test": 398}
    assert {count(size, 1080) for size in ((3840, 2160), (4096, 2160))} == {8}  # UAVid
    assert count((32507, 15354), 256, rest="drop") == 7434  # WHU-CD as a whole


def test_no_side_no_windows() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        list(windows((10, 10), 0))


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 50, 4), dtype=np.uint8)


def write_tiff(path: Path, bands: np.ndarray, **options: object) -> None:
    height, width, count = bands.shape
    profile = {"width": width, "height": height, "count": count, "dtype": bands.dtype, **options}
    with pytest.warns(NotGeoreferencedWarning), rasterio.open(path, "w", driver="GTiff", **profile) as file:
        file.write(np.moveaxis(bands, -1, 0))


@pytest.mark.parametrize("form", ["tiled.tif", "striped.TIFF", "four.tif", "picture.png", "alpha.png"])
def test_colours_are_the_same_in_every_form(pixels: np.ndarray, form: str, tmp_path: Path) -> None:
    path = tmp_path / form
    if form == "tiled.tif":
        write_tiff(path, pixels[..., :3], tiled=True, blockxsize=16, blockysize=16, compress="deflate")
    elif form == "striped.TIFF":
        write_tiff(path, pixels[..., :3], blockysize=1, interleave="pixel")
    elif form == "four.tif":
        write_tiff(path, pixels)
    else:
        Image.fromarray(pixels if form == "alpha.png" else pixels[..., :3]).save(path)
    with open_raster(path, "colours") as raster:
        assert raster.size == (50, 40)
        found = raster.read(Window(7, 20, 30, 20))
    np.testing.assert_array_equal(found, pixels[20:40, 7:37, :3])


@pytest.mark.parametrize("name", ["classes.tif", "classes.png", "palette.png"])
def test_classes_are_numbers_also_behind_a_palette(pixels: np.ndarray, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name.endswith(".tif"):
        write_tiff(path, pixels[..., :1])
    else:
        picture = Image.fromarray(pixels[..., 0], mode="P" if name == "palette.png" else None)
        if name == "palette.png":
            picture.putpalette(list(range(256))[::-1] * 3)
        picture.save(path)
    with open_raster(path, "classes") as raster:
        np.testing.assert_array_equal(raster.read(Window(3, 2, 5, 6)), pixels[2:8, 3:8, 0])


def test_a_window_of_a_large_tiff_costs_a_window(tmp_path: Path) -> None:
    side, crop = 1024, 64
    rng = np.random.default_rng(0)
    large = rng.integers(0, 4, (side, side, 3), dtype=np.uint8)
    write_tiff(tmp_path / "large.tif", large, tiled=True, blockxsize=crop, blockysize=crop)
    with open_raster(tmp_path / "large.tif", "colours") as raster:
        raster.read(Window(0, 0, 1, 1))  # what rasterio loads with its first read is not counted
        tracemalloc.start()
        for window in windows(raster.size, crop):
            raster.read(window)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert crop * crop * 3 <= peak < 20 * crop * crop * 3 < large.size / 10


def test_bad_rasters_are_named(pixels: np.ndarray, tmp_path: Path) -> None:
    write_tiff(tmp_path / "whole.tif", pixels[..., :3], blockysize=1)
    data = (tmp_path / "whole.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.tif").write_text("no image")
    (tmp_path / "other.tif").write_text(
        f'<VRTDataset rasterXSize="50" rasterYSize="40"><VRTRasterBand dataType="Byte" band="1">'
        f"<SimpleSource><SourceFilename>{tmp_path}/whole.tif</SourceFilename></SimpleSource>"
        f"</VRTRasterBand></VRTDataset>"
    )
    write_tiff(tmp_path / "deep.tif", pixels[..., :3].astype(np.uint16))
    write_tiff(tmp_path / "grey.tif", pixels[..., :1])
    Image.fromarray(pixels[..., 0].astype(np.uint16)).save(tmp_path / "deep.png")
    for name, words in (
        ("absent.tif", "image absent.tif is missing"),
        ("cut.tif", "image cut.tif is (damaged|unreadable)"),
        ("text.tif", "image text.tif is unreadable"),
        ("other.tif", "image other.tif is unreadable"),
        ("deep.tif", "image deep.tif is not made of 8-bit channels"),
        ("grey.tif", r"image grey.tif has 1 band\(s\), needs red, green and blue"),
        ("deep.png", "image deep.png is not made of 8-bit channels"),
    ):
        with pytest.raises(ValueError, match=words), open_raster(tmp_path / name, "colours") as raster:
            raster.read(Window(0, 30, 50, 10))
    for name in ("whole.tif", "whole.png"):
        if name == "whole.png":
            Image.fromarray(pixels[..., :3]).save(tmp_path / name)
        with (
            pytest.raises(ValueError, match=r"window 45_0_55_10 reaches beyond the 50 x 40 raster"),
            open_raster(tmp_path / name, "colours") as raster,
        ):
            raster.read(Window(45, 0, 10, 10))


def test_a_crop_is_lossless_and_appears_whole(pixels: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "images/train/a.png"
    save_crop(path, pixels[5:9, 5:9, :3])
    save_crop(path.with_name("mask.png"), pixels[..., 0].astype(np.int32))
    with Image.open(path) as picture, Image.open(path.with_name("mask.png")) as mask:
        np.testing.assert_array_equal(np.asarray(picture), pixels[5:9, 5:9, :3])
        assert mask.mode == "L"
        np.testing.assert_array_equal(np.asarray(mask), pixels[..., 0])
    with pytest.raises(TypeError):
        save_crop(path.with_name("odd.png"), np.zeros((2, 2, 7), np.uint8))
    assert not path.with_name("odd.png").exists()
