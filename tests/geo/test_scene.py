"""Rasters read by windows: what has data, what it looks like, and what is refused."""

import numpy as np
import pytest
import rasterio
from affine import Affine

from rsunivlm.geo.grid import Grid
from rsunivlm.geo.scene import Scene, UnreadableWindowError, gdal_settings, native_grid, open_source
from rsunivlm.inference.tiling import Window

PLACE = {"crs": "EPSG:32633", "transform": Affine(0.5, 0, 500000, 0, -0.5, 4_000_000)}
RNG = np.random.default_rng(0)


def write(path, bands, mask=None, **profile):
    count, height, width = bands.shape
    given = PLACE | {"dtype": bands.dtype, "count": count, "driver": "GTiff"} | profile
    with rasterio.open(path, "w", width=width, height=height, **given) as dataset:
        dataset.write(bands)
        if mask is not None:
            dataset.write_mask(mask)
    return path


def read(path, window, grid=None, **settings):
    with gdal_settings(), open_source(path) as dataset:
        scene = Scene(dataset, **settings)
        with scene.on(grid or native_grid(dataset)):
            return scene.read(window)


def test_8_bit_colours_are_untouched(tmp_path):
    bands = RNG.integers(0, 255, (3, 40, 60), np.uint8)
    picture, valid = read(write(tmp_path / "a.tif", bands), Window(7, 5, 20, 10))
    assert (picture == np.moveaxis(bands, 0, -1)[5:15, 7:27]).all()
    assert valid.all()
    grid = Grid(20, 10, Affine(0.5, 0, 500003.5, 0, -0.5, 3_999_997.5), rasterio.crs.CRS.from_epsg(32633))
    shifted, _ = read(tmp_path / "a.tif", Window(0, 0, 20, 10), grid)
    assert (shifted == picture).all()


def test_band_choice_and_single_bands(tmp_path):
    bands = RNG.integers(0, 255, (5, 8, 9), np.uint8)
    path, all_of_it = write(tmp_path / "a.tif", bands, photometric="minisblack"), Window(0, 0, 9, 8)
    picture, _ = read(path, all_of_it, bands=[4, 3, 2])
    assert (picture == np.moveaxis(bands[[3, 2, 1]], 0, -1)).all()
    grey, _ = read(write(tmp_path / "b.tif", bands[:1]), all_of_it)
    assert (grey == bands[0][..., None]).all()


def test_a_palette_is_looked_up(tmp_path):
    indices = np.arange(12, dtype=np.uint8).reshape(1, 3, 4)
    path = write(tmp_path / "a.tif", indices, photometric="palette")
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, {index: (index, 2 * index, 255 - index, 255) for index in range(12)})
    picture, _ = read(path, Window(0, 0, 4, 3))
    assert picture[1, 1].tolist() == [5, 10, 250]


@pytest.mark.parametrize("coarser", [1, 2])
@pytest.mark.parametrize("kind", ["tag", "given", "alpha", "mask", "nan"])
def test_what_has_no_data(tmp_path, kind, coarser):
    """The upper half has none; the lower half has dark pixels with a zero in one band or two."""
    bands = RNG.integers(1, 255, (3, 40, 60), np.uint8)
    bands[:, :20] = 0
    bands[0, 20:] = 0
    bands[1, 30:] = 0
    mask = np.where(np.arange(40)[:, None] < 20, 0, 255).astype(np.uint8) * np.ones((1, 60), np.uint8)
    path, settings = tmp_path / "a.tif", {}
    if kind == "tag":
        write(path, bands, nodata=0)
    elif kind == "given":
        write(path, bands)
        settings = {"nodata": 0.0}
    elif kind == "alpha":
        write(path, np.concatenate([bands, mask[None]]), photometric="rgb", alpha="yes")
    elif kind == "mask":
        write(path, bands, mask=mask)
    else:
        values = bands.astype(np.float32)
        values[:, :20] = np.nan
        write(path, values)
        settings = {"stretch": "0,100"}
    place = PLACE["transform"]
    crs = rasterio.crs.CRS.from_epsg(32633)
    coarse = Affine(place.a * coarser, 0, place.c, 0, place.e * coarser, place.f)
    grid = Grid(60 // coarser, 40 // coarser, coarse, crs)
    picture, valid = read(path, Window(0, 0, *grid.size), grid, **settings)
    assert not valid[: 20 // coarser].any()
    assert valid[20 // coarser :].all()
    assert not picture[: 20 // coarser].any()
    assert picture[20 // coarser :, :, 2].any()


def test_16_bit_is_stretched_alike_everywhere(tmp_path):
    bands = np.zeros((1, 100, 200), np.uint16)
    bands[:, :, 100:] = np.linspace(500, 4000, 100).astype(np.uint16)
    bands[:, 50:] = np.where(bands[:, 50:] == 0, 9000, bands[:, 50:])
    path = write(tmp_path / "a.tif", bands, nodata=0)
    dark, _ = read(path, Window(100, 0, 50, 50))
    light, _ = read(path, Window(100, 40, 100, 20))
    whole, _ = read(path, Window(0, 0, 200, 100))
    assert (whole[:50, 100:150] == dark).all()
    assert (whole[40:60, 100:] == light).all()
    low, high = np.percentile(bands[bands > 0], (2, 98))
    expected = np.clip((bands[0, :50, 100:150] - low) * 255 / (high - low), 0, 255).round()
    assert np.abs(expected - dark[..., 0]).max() <= 1


def test_resampling_is_the_mean_below_and_smooth_above(tmp_path):
    bands = RNG.integers(0, 255, (3, 40, 60), np.uint8)
    path = write(tmp_path / "a.tif", bands, crs=None)  # needs no CRS as long as it stays in place
    place = PLACE["transform"]
    coarse = Grid(15, 10, Affine(place.a * 4, 0, place.c, 0, place.e * 4, place.f), None)
    picture, valid = read(path, Window(0, 0, 15, 10), coarse)
    mean = bands.reshape(3, 10, 4, 15, 4).mean((2, 4))
    assert valid.all()
    assert np.abs(np.moveaxis(picture, -1, 0) - mean).max() <= 0.5
    fine = Grid(120, 80, Affine(place.a / 2, 0, place.c, 0, place.e / 2, place.f), None)
    picture, _ = read(path, Window(0, 0, 120, 80), fine)
    # The centre of pixel (21, 10) lies at (10.75, 5.25) of the file, whose centres are at halves.
    across, down = np.array([0.75, 0.25]), np.array([0.25, 0.75])
    smooth = np.einsum("brc,r,c->b", bands[:, 4:6, 10:12].astype(float), down, across)
    assert np.abs(picture[10, 21] - smooth).max() <= 1


def test_a_damaged_block_is_named(tmp_path):
    bands = RNG.integers(0, 255, (3, 256, 256), np.uint8)
    path = write(tmp_path / "a.tif", bands, tiled=True, blockxsize=64, blockysize=64)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    assert read(path, Window(0, 0, 64, 64))[1].all()
    with pytest.raises(UnreadableWindowError, match=r"^a\.tif: .*IReadBlock failed"):
        read(path, Window(128, 192, 64, 64))
    # What is left is enough to measure a stretch.
    assert read(path, Window(0, 0, 64, 64), stretch="2,98")[1].all()


def test_what_is_refused(tmp_path):
    def refused(path, message, **settings):
        with pytest.raises(ValueError, match=message):
            read(path, Window(0, 0, 2, 2), **settings)

    for remote in ("https://example.org/a.tif", "/vsicurl/https://example.org/a.tif", "s3://bucket/a.tif"):
        refused(remote, "no local file; --allow-remote")
    refused(tmp_path / "none.tif", "no such raster: .*none.tif")
    (tmp_path / "text.tif").write_text("no raster")
    refused(tmp_path / "text.tif", "not a readable raster: .*text.tif")
    sixteen = write(tmp_path / "16.tif", np.ones((1, 4, 4), np.uint16))
    refused(sixteen, "--stretch none is not possible", stretch="none")
    refused(sixteen, "--stretch is auto, none or two percentiles", stretch="much")
    refused(write(tmp_path / "c.tif", np.ones((1, 4, 4), np.complex64)), "complex")
    refused(sixteen, "there is no band 2", bands=[2])


def test_virtual_rasters_need_leave(tmp_path):
    write(tmp_path / "a.tif", np.ones((1, 4, 4), np.uint8))
    source = '<SimpleSource><SourceFilename relativeToVRT="1">a.tif</SourceFilename></SimpleSource>'
    band = f'<VRTRasterBand dataType="Byte" band="1">{source}</VRTRasterBand>'
    path = tmp_path / "a.vrt"
    path.write_text(f'<VRTDataset rasterXSize="4" rasterYSize="4">{band}</VRTDataset>')
    with pytest.raises(ValueError, match=r"not recognized .*others need --allow-remote"), open_source(path):
        pass
    with gdal_settings(), open_source(path, allow_remote=True) as dataset:
        assert Scene(dataset).read(Window(0, 0, 4, 4))[0].shape == (4, 4, 3)


def test_plain_pictures_open_too(tmp_path):
    from PIL import Image

    pixels = RNG.integers(0, 255, (12, 10, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert (read(tmp_path / "a.png", Window(0, 0, 10, 12))[0] == pixels).all()
