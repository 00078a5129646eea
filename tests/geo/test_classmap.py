"""A class map that the disk has cut short is noticed, though GDAL says nothing."""

import subprocess
import sys

import pytest

NOISE = """
import resource, sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from affine import Affine

from rsunivlm.geo.classmap import finish_raster, write_class_map
from rsunivlm.geo.disk import writing
from rsunivlm.geo.grid import Grid
from rsunivlm.geo.scene import gdal_settings
from rsunivlm.inference.tiling import Tiling

limit, cog, folder = int(sys.argv[1]), sys.argv[2] == "cog", Path(sys.argv[3])
grid, tiling, rng = Grid(700, 600, Affine.identity(), None), Tiling(300, 20), np.random.default_rng(0)
job = SimpleNamespace(grid=grid, tiling=tiling, questions=[], notes=[], task="ss")
tiles = [
    SimpleNamespace(part=part, class_ids=lambda: rng.integers(0, 255, (300, 300), np.uint8))
    for part in tiling.parts(grid.size)
]

def set_limit():
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

try:
    with gdal_settings(), writing(folder / "out.tif"):
        if not cog:
            set_limit()
        write_class_map(folder / "map.tif", job, tiles)
        if cog:
            set_limit()
            finish_raster(folder / "map.tif", folder / "out.tif", grid.height, cog=True)
except ValueError as error:
    sys.exit(f"error: {error}")
print((folder / ("out.tif" if cog else "map.tif")).stat().st_size)
"""


def write_noise(limit, kind, folder):
    command = [sys.executable, "-c", NOISE, str(limit), kind, str(folder)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("kind", ["plain", "cog"])
def test_lost_blocks_are_noticed(tmp_path, kind):
    whole = write_noise(10_000_000, kind, tmp_path)
    assert whole.returncode == 0, whole.stderr
    for limit in (int(whole.stdout) // 2, int(whole.stdout) - 1):
        cut = write_noise(limit, kind, tmp_path)
        assert cut.returncode == 1, limit
        assert "error: cannot write out.tif" in cut.stderr
