"""`rsunivlm raster` from end to end on a tiny checkpoint, and what it says to bad input."""

from __future__ import annotations

import json
import sys

import geopandas as gpd
import pytest

from rsunivlm.cli import main


def test_segments_a_scene(scene, tiny_checkpoint, tmp_path, capsys):
    out = tmp_path / "out.gpkg"
    command = ["raster", str(scene), "--task", "seg", "--classes", "building, road", "--out", str(out)]
    command += ["--model", str(tiny_checkpoint), "--tile", "128", "--max-new-tokens", "40", "--device", "cpu"]
    assert main([*command, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "questions   8" in said
    assert " s, as one tile took" in said
    assert not out.exists()
    assert main([*command, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["model"].startswith("weights ")
    assert (report["tiles"], report["answered"]) == (4, 4)
    frame = gpd.read_file(out, layer="segments")
    assert len(frame) == report["features"]["segments"]
    assert main(command) == 2
    assert "is there already" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{out}: 4 tiles (0 without data, ")
    assert "4/4" in captured.err  # the bar


def test_scene_classes_are_a_closed_list(scene, tiny_checkpoint, tmp_path):
    out = tmp_path / "out.fgb"
    command = ["raster", str(scene), "--task", "sc", "--classes", "airport,port,farmland", "--out", str(out)]
    assert main([*command, "--model", str(tiny_checkpoint), "--tile", "170", "--device", "cpu"]) == 0
    answers = gpd.read_file(out)["answer"]
    assert len(answers) == 2
    assert set(answers) <= {"airport", "port", "farmland"}


def test_says_what_one_should_know(planted, tmp_path, tiny_checkpoint, capsys):
    source = planted.write(tmp_path / "a.tif", planted.paint(), crs=None)
    assert main(["raster", str(source), "--task", "cap", "--dry-run"]) == 0
    captured = capsys.readouterr()
    assert captured.err.startswith("note: a.tif has no CRS")
    assert "not measured; name a model with --model" in captured.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "seg", "--classes", "road"], "name the result with --out"),
        (["--task", "seg", "--out", "OUT.gpkg"], "task ss needs --classes"),
        (["--task", "walk", "--out", "OUT.gpkg"], "unknown task 'walk'"),
        (["--task", "cap", "--out", "OUT.txt"], "the suffix must be one of"),
        (["--task", "cap", "--out", "OUT.gpkg", "--bands", "1,2,9"], "there is no band 9"),
        (["--task", "cap", "--out", "OUT.gpkg", "--bands", "red"], "--bands takes numbers such as 4,3,2"),
        (["--task", "cap", "--out", "OUT.gpkg", "--tile", "8", "--overlap", "8"], "--overlap in"),
        (["--task", "cap", "--out", "OUT.gpkg", "--cog"], "--cog makes a GeoTIFF"),
        (["--task", "cap", "--out", "OUT.gpkg", "--model", "nowhere"], "nowhere"),
    ],
)
def test_bad_input_is_one_line(scene, tmp_path, capsys, arguments, message):
    arguments = [argument.replace("OUT", str(tmp_path / "out")) for argument in arguments]
    assert main(["raster", str(scene), *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert message in said
    assert said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["scene.tif"]


def test_without_the_extra_it_says_what_to_install(scene, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("rsunivlm.geo.extra.find_spec", lambda name: None if name == "pyogrio" else sys)
    assert main(["raster", str(scene), "--task", "cap", "--out", str(tmp_path / "a.gpkg")]) == 2
    assert capsys.readouterr().err == "error: rasters need pyogrio: pip install 'rsunivlm[geo]'\n"


def test_interrupting_says_how_to_go_on(scene, tmp_path, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("rsunivlm.geo.process.ask_tiles", interrupt)
    monkeypatch.setattr("rsunivlm.geo.process.load_predictor", lambda *_: (None, "none"))
    assert main(["raster", str(scene), "--task", "cap", "--out", str(tmp_path / "a.gpkg")]) == 130
    assert "the same command goes on" in capsys.readouterr().err
