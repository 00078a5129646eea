"""Planted objects come out where they are, whatever the raster and however often the run was interrupted."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from PIL import Image


def truth(planted, transform, names=("building", "road", "water")):
    """Name and polygon of the planted objects; corners by the matrix, one by one."""
    found = []
    for name, x, y, width, height in planted.OBJECTS:
        corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
        t = transform
        places = [(t.a * c + t.b * r + t.c, t.d * c + t.e * r + t.f) for c, r in corners]
        found += [(name, shapely.Polygon(places))] if name in names else []
    return found


def assert_same(frame, expected, pixel):
    """Every expected polygon is there once, no more than `pixel` away, and there are no others."""
    assert sorted(frame["class"]) == sorted(name for name, _ in expected)
    for name, polygon in expected:
        rows = frame[frame["class"] == name]
        assert min(shapely.hausdorff_distance(each, polygon) for each in rows.geometry) < pixel


def read(path, **where):
    return gpd.read_file(path, **where)


PLACES = {
    "utm": ("EPSG:32633", "UTM"),
    "rotated": ("EPSG:32633", "ROTATED"),
    "degrees": ("EPSG:4326", "DEGREES"),
    "nowhere": (None, "ROTATED"),
}


@pytest.mark.parametrize("task", ["seg", "vg"])
@pytest.mark.parametrize("place", PLACES)
def test_vectors_land_within_a_pixel(planted, run, tmp_path, place, task):
    crs, name = PLACES[place]
    transform = getattr(planted, name)
    source = planted.write(tmp_path / "a.tif", planted.paint(), crs=crs, transform=transform)
    # Boxes do not reach across tiles, so they get tiles that hold whole objects somewhere.
    classes = ["building", "water"] if task == "vg" else ["building", "road", "water"]
    settings = {"tile": 140, "overlap": 70} if task == "vg" else {}
    result = run(source, task=task, classes=classes, **settings)
    frame = read(result.out)
    assert frame.crs == crs
    assert_same(frame, truth(planted, transform, classes), 0.1 * abs(transform.e))
    if crs is None:
        assert result.report["notes"] == [
            "a.tif has no CRS: coordinates are those of its transform, or pixels where it has none"
        ]


def test_a_plain_picture_gives_pixels(planted, run, tmp_path):
    Image.fromarray(np.moveaxis(planted.paint(), 0, -1)).save(tmp_path / "a.png")
    frame = read(run(tmp_path / "a.png").out)
    assert_same(frame, truth(planted, Affine.identity()), 0.1)


def test_formats(planted, run, scene):
    expected = truth(planted, planted.UTM)
    for suffix in ("gpkg", "fgb"):
        frame = read(run(scene, f"out.{suffix}").out)
        assert frame.crs == "EPSG:32633"
        assert_same(frame, expected, 0.01)
        row = frame[frame["class"] == "water"].iloc[0]
        assert (row["class_id"], row["pixels"], row["area_m2"]) == (3, 2400, 600)
    result = run(scene, "out.geojson")
    frame = read(result.out)
    assert frame.crs == "EPSG:4326"
    assert_same(frame.to_crs("EPSG:32633"), expected, 0.05)  # 7 decimals of a degree are a centimetre
    assert result.report["notes"] == ["GeoJSON is in longitude and latitude (EPSG:4326)"]


@pytest.mark.parametrize("cog", [False, True])
@pytest.mark.parametrize("place", ["utm", "rotated", "degrees"])
def test_class_map(planted, run, tmp_path, cog, place):
    crs, name = PLACES[place]
    transform = getattr(planted, name)
    source = planted.write(tmp_path / "a.tif", planted.paint(), crs=crs, transform=transform)
    result = run(source, "out.tif", cog=cog)
    with rasterio.open(result.out) as dataset:
        ids = dataset.read(1)
        assert dataset.crs == crs
        assert dataset.transform.almost_equals(transform, 1e-9)
        assert dataset.nodata == 255
        tags = dataset.tags()
        assert [tags[f"CLASS_{number}"] for number in range(4)] == ["others", "building", "road", "water"]
        assert dataset.colormap(1)[1][:3] != dataset.colormap(1)[2][:3]
        assert dataset.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == ("COG" if cog else None)
    expected = np.zeros((170, 230), np.uint8)
    for name, x, y, width, height in planted.OBJECTS:
        expected[y : y + height, x : x + width] = list(planted.COLOURS).index(name) + 1
    assert (ids == expected).all()


def test_the_class_named_first_has_the_pixel(planted, run, scene):
    class Everywhere(planted.ColourPredictor):
        def answer(self, request):
            answer = super().answer(request)
            answer.mask[:, :32] = 1
            return answer

    frame = read(run(scene, classes=["water", "building"], tile=230, predictor=Everywhere()).out)
    assert frame[frame["class"] == "water"].bounds["minx"].min() == 500000
    assert frame[frame["class"] == "building"].bounds["minx"].min() == 500000 + 32 / 2


def test_pixels_without_data_get_no_class(planted, run, tmp_path):
    bands = planted.paint()
    bands[:, :, :70] = 0  # a tile and a bit; the road and a building reach into it
    bands[:, :, 100:110] = 0
    source = planted.write(tmp_path / "a.tif", bands, nodata=0)

    class Greedy(planted.ColourPredictor):
        def answer(self, request):
            answer = super().answer(request)
            answer.mask[:] = 1
            return answer

    predictor = Greedy()
    result = run(source, "out.tif", predictor=predictor, classes=["road"], overlap=0)
    with rasterio.open(result.out) as dataset:
        ids = dataset.read(1)
    assert (ids == np.where(bands.any(axis=0), 1, 255)).all()
    assert (result.report["tiles"], result.report["nodata"]) == (12, 3)
    assert predictor.asked == 9


def test_boxes_on_nothing_are_dropped(planted, run, tmp_path):
    bands = planted.paint()
    mask = np.full(bands.shape[1:], 255, np.uint8)
    mask[:60] = 0
    source = planted.write(
        tmp_path / "a.tif", np.concatenate([bands, mask[None]]), photometric="rgb", alpha="yes"
    )

    class Dreamer(planted.ColourPredictor):
        def answer(self, request):
            boxes = np.array([[20.0, 15, 50, 37], [88, 60, 113, 85]])
            return replace(super().answer(request), boxes_px=boxes)

    frame = read(run(source, task="vg", classes=["building"], tile=230, predictor=Dreamer()).out)
    assert frame.total_bounds.tolist() == [500044, 3_999_957.5, 500056.5, 3_999_970]


def test_one_stretch_for_all_tiles(planted, run, tmp_path):
    rng = np.random.default_rng(0)
    bands = rng.integers(300, 4000, (3, 100, 200)).astype(np.uint16)
    bands[:, 40:45, 10::20] = 777
    predictor = planted.ColourPredictor()
    run(planted.write(tmp_path / "a.tif", bands), task="cap", classes=[], tile=20, predictor=predictor)
    seen = {int(value) for picture in predictor.pictures[20:30] for value in picture[0:5, 10].ravel()}
    assert len(predictor.pictures) == 50
    assert len(seen) <= 3  # one a band


def test_words_become_polygons_of_tiles(planted, run, scene):
    result = run(scene, task="vqa", classes=[], prompt="Is there a road?", tile=100)
    frame = read(result.out)
    assert result.report["features"] == {"answers": 6}
    assert frame["question"].unique().tolist() == ["Is there a road?"]
    # The middles of the tiles; (150, 120) and (180, 120) are water.
    assert frame["answer"].tolist() == ["red 60", "red 60", "red 60", "red 60", "red 20", "red 20"]
    assert frame.geometry.iloc[0].bounds == (500000, 3_999_950, 500050, 4_000_000)
    assert frame.union_all().area == 230 * 170 * 0.25


def test_damaged_tiles_are_named_and_the_run_goes_on(planted, run, tmp_path):
    source = planted.write(tmp_path / "a.tif", planted.paint(), tiled=True, blockxsize=64, blockysize=64)
    with source.open("r+b") as file:
        file.truncate(int(source.stat().st_size * 0.72))
    result = run(source, tile=64, overlap=0)
    skipped = result.report["skipped"]
    assert 0 < len(skipped) < result.report["tiles"]
    assert "a.tif" in skipped[0]["reason"]
    frame = read(result.out, layer="skipped")
    assert frame["tile"].tolist() == [entry["tile"] for entry in skipped]
    x, y, width, height = skipped[0]["window"]
    assert frame.geometry.iloc[0].bounds == pytest.approx(
        (5e5 + x / 2, 4e6 - (y + height) / 2, 5e5 + (x + width) / 2, 4e6 - y / 2)
    )
    segments = read(result.out, layer="segments")
    whole = [(name, polygon) for name, polygon in truth(planted, planted.UTM) if name == "building"]
    assert_same(segments[segments["class"] == "building"], whole, 0.1)


def test_answers_that_cannot_be_read_are_named(planted, run, scene):
    class Mumbling(planted.ColourPredictor):
        def answer(self, request):
            answer = super().answer(request)
            return replace(answer, report=replace(answer.report, valid=self.asked != 5))

    reasons = [entry["reason"] for entry in run(scene, predictor=Mumbling()).report["skipped"]]
    assert reasons == ["the answer about 'road' could not be read"]


@pytest.mark.parametrize("resolution", [(3e-6, 2.5e-6), (6e-6, 5e-6)])
def test_a_pair_is_laid_on_each_other(planted, run, tmp_path, resolution):
    """Before: without the buildings; after: in degrees, pixels of 0.27 or 0.54 m, shifted."""
    before = planted.write(tmp_path / "before.tif", planted.paint(objects=planted.OBJECTS[2:]))
    after = planted.write(tmp_path / "same.tif", planted.paint())
    with rasterio.open(after) as source:
        from rasterio.warp import calculate_default_transform, reproject

        bounds = rasterio.coords.BoundingBox(500005, 3_999_915, 500115, 3_999_995)
        place, width, height = calculate_default_transform(
            source.crs, "EPSG:4326", 220, 160, *bounds, resolution=resolution
        )
        warped = np.zeros((3, height, width), np.uint8)
        reproject(rasterio.band(source, [1, 2, 3]), warped, dst_transform=place, dst_crs="EPSG:4326")
    planted.write(tmp_path / "after.tif", warped, crs="EPSG:4326", transform=place, nodata=0)
    predictor = planted.ColourPredictor()
    result = run([before, tmp_path / "after.tif"], task="cd", classes=["building"], predictor=predictor)
    frame = read(result.out)
    assert frame.crs == "EPSG:32633"
    buildings = truth(planted, planted.UTM, ["building"])
    large = frame[frame["pixels"] > 20]
    # Made by nearest: half a pixel of its own; pixels on an edge are a mixture: one pixel, and its diagonal.
    assert_same(large, buildings, (0.5 + resolution[0] * 45_000) * 2**0.5)
    assert "only what both rasters cover is looked at" in result.report["notes"][0]
    assert result.report["grid"]["width"] < 230


def test_pairs_that_do_not_fit(planted, run, tmp_path, scene):
    far = planted.write(
        tmp_path / "far.tif", planted.paint(), transform=Affine(0.5, 0, 600000, 0, -0.5, 4_000_000)
    )
    bare = planted.write(tmp_path / "bare.tif", planted.paint(), crs=None)
    for second, message in ((far, "do not overlap"), (bare, "bare.tif has no CRS and scene.tif has one")):
        with pytest.raises(ValueError, match=message):
            run([scene, second], task="cd")
    pictures = [tmp_path / "a.png", tmp_path / "b.png"]
    Image.new("RGB", (40, 30)).save(pictures[0])
    Image.new("RGB", (40, 31)).save(pictures[1])
    with pytest.raises(ValueError, match="have no position and differ in size"):
        run(pictures, task="cc", classes=[])
    with pytest.raises(ValueError, match="task cd looks at two rasters, before and after; 1 given"):
        run(scene, task="cd")
    with pytest.raises(ValueError, match="task ss looks at one raster; 2 given"):
        run([scene, scene])


@pytest.mark.parametrize("place", ["utm", "rotated", "degrees"])
def test_coarser_pixels(planted, run, tmp_path, place):
    crs, name = PLACES[place]
    transform = getattr(planted, name)
    source = planted.write(tmp_path / "a.tif", planted.paint(), crs=crs, transform=transform)
    result = run(source, gsd=0.6 if place == "degrees" else 1.0, tile=40)
    grid = result.report["grid"]
    assert (grid["width"], grid["height"]) == ((104, 95) if place == "degrees" else (115, 85))
    # Pixels on the edge of an object are a mixture and belong to no class.
    pixel = max(abs(grid["transform"][0]), abs(grid["transform"][4]))
    assert_same(read(result.out), truth(planted, transform), 1.5 * pixel)


def features(path):
    frame = read(path, layer=pyogrio.list_layers(path)[0][0])
    return frame.drop(columns="geometry").to_dict("list"), frame.geometry.to_wkb().tolist()


@pytest.mark.parametrize("task", ["seg", "vg"])
def test_interrupted_anywhere_it_ends_the_same(planted, run, scene, tmp_path, task):
    asked = {"task": task, "classes": ["building", "water"], "batch_size": 3}
    undisturbed = planted.ColourPredictor()
    expected = features(run(scene, "whole.gpkg", predictor=undisturbed, **asked).out)
    for deaths in ([1], [5, 6], [23], [7] * 5):
        for after in deaths:
            with pytest.raises(KeyboardInterrupt):
                run(scene, f"{deaths}.gpkg", predictor=planted.ColourPredictor(after), **asked)
            assert not (tmp_path / f"{deaths}.gpkg").exists()
        last = planted.ColourPredictor()
        result = run(scene, f"{deaths}.gpkg", predictor=last, **asked)
        assert features(result.out) == expected
        assert result.report["resumed"] == (max(deaths) > 3)
        assert last.asked <= undisturbed.asked
    left = {path.name for path in tmp_path.iterdir()}
    assert not [name for name in left if "journal" in name or name.startswith(".")]


def test_killed_while_asking_it_ends_the_same(planted, run, scene, tmp_path):
    expected = features(run(scene, "whole.gpkg", batch_size=3).out)
    out = tmp_path / "killed.gpkg"
    journal = tmp_path / "killed.gpkg.journal.jsonl"
    command = [sys.executable, planted.__file__, str(scene), str(out)]
    process = subprocess.Popen([*command, "0.05"])
    while not journal.exists() or journal.stat().st_size < 2000:
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not out.exists()
    subprocess.run([*command, "0"], check=True)
    assert features(out) == expected
    assert json.loads(out.with_name("killed.gpkg.report.json").read_text())["resumed"]
    assert not journal.exists()


def test_killed_while_writing_it_ends_the_same(planted, run, scene, tmp_path, monkeypatch):
    expected = features(run(scene, "whole.gpkg").out)

    def die(*_):
        # What a killed SQLite leaves: a file, and a journal that belongs to that file alone.
        (tmp_path / ".out.gpkg.polygons.gpkg").write_bytes(b"half")
        (tmp_path / ".out.gpkg.polygons.gpkg-journal").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("rsunivlm.geo.output.polygons", die)
    monkeypatch.setattr("rsunivlm.geo.disk.Files.clean", lambda files: None)
    with pytest.raises(KeyboardInterrupt):
        run(scene)
    monkeypatch.undo()
    silent = planted.ColourPredictor(die_after=0)
    assert features(run(scene, predictor=silent).out) == expected
    assert not list(tmp_path.glob(".*"))


def test_a_full_disk_stops_cleanly_and_the_run_goes_on(planted, run, scene, tmp_path, small_files):
    expected = features(run(scene, "whole.gpkg", batch_size=3).out)
    for limit, what in ((2500, "full.gpkg.journal.jsonl"), (60_000, "full.gpkg")):
        with (
            pytest.raises(ValueError, match=rf"cannot write {what} .*the same command again to go on"),
            small_files(limit),
        ):
            run(scene, "full.gpkg", batch_size=3)
        assert not (tmp_path / "full.gpkg").exists()
        assert not list(tmp_path.glob(".full*"))
    last = planted.ColourPredictor(die_after=0)
    assert features(run(scene, "full.gpkg", predictor=last).out) == expected


def test_answers_of_another_run_are_not_taken(planted, run, scene):
    with pytest.raises(KeyboardInterrupt):
        run(scene, predictor=planted.ColourPredictor(10), batch_size=3)
    for change, key in (
        ({"tile": 65}, "tiles"),
        ({"classes": ["building", "road"]}, "questions"),
        ({"model_id": "another"}, "model"),
        ({"stretch": "2,98"}, "stretch"),
    ):
        with pytest.raises(ValueError, match=rf"another run \(it differs in: .*{key}"):
            run(scene, **change)
    planted.write(scene, planted.paint())  # the same pixels, but who knows that
    with pytest.raises(ValueError, match=r"differs in: rasters\)"):
        run(scene)
    assert run(scene, restart=True).report["resumed"] is False


def test_a_result_is_not_replaced_unasked(run, scene):
    first = run(scene).out.stat().st_mtime_ns
    with pytest.raises(ValueError, match="is there already; --overwrite replaces it"):
        run(scene)
    assert run(scene, overwrite=True).out.stat().st_mtime_ns > first


@pytest.mark.parametrize(
    ("out", "task", "message"),
    [
        ("out.shp", "seg", r"the suffix must be one of \.gpkg"),
        ("out.tif", "vg", "a GeoTIFF holds classes of pixels"),
        ("nowhere/out.gpkg", "seg", "the folder of --out does not exist"),
    ],
)
def test_results_that_cannot_be(run, scene, out, task, message):
    with pytest.raises(ValueError, match=message):
        run(scene, out, task=task)


def test_a_predictor_needs_a_name(run, scene):
    with pytest.raises(ValueError, match="needs a name: model_id"):
        run(scene, model_id=None)
