"""The benchmark's own check of a result: right polygons pass, others do not."""

import importlib.util
from pathlib import Path

import numpy as np

from rsunivlm.geo import process_raster

PATH = Path(__file__).resolve().parents[2] / "benchmarks/raster.py"


def test_what_was_planted_is_recognised(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("benchmark_raster", PATH)
    assert spec is not None
    assert spec.loader is not None
    raster = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(raster)
    planted = raster.make_scene(tmp_path / "scene.tif", 1500, np.random.default_rng(0))
    assert len(planted["buildings"]) > 20
    out = tmp_path / "out.gpkg"
    process_raster(
        tmp_path / "scene.tif",
        out,
        task="seg",
        classes=list(raster.COLOURS),
        model=raster.SeesColours(),
        model_id="colours",
    )
    found = raster.polygons(out)
    assert raster.matches(found, planted)
    assert not raster.matches(found[1:], planted)
    planted["water"] += 1
    assert not raster.matches(found, planted)
