"""A class map that the disk has cut short is noticed, though GDAL says nothing."""

from types import SimpleNamespace

import numpy as np
import pytest
from affine import Affine

from rsunivlm.geo.classmap import finish_raster, write_class_map
from rsunivlm.geo.disk import writing
from rsunivlm.geo.grid import Grid
from rsunivlm.inference.tiling import Tiling


class NoisyTile:
    def __init__(self, part):
        self.part = part

    def class_ids(self):
        noise = np.random.default_rng(self.part.window.x)
        return noise.integers(0, 255, (self.part.window.height, self.part.window.width), np.uint8)


@pytest.mark.parametrize("cog", [False, True])
def test_lost_blocks_are_noticed(tmp_path, small_files, cog):
    grid, tiling = Grid(700, 600, Affine.identity(), None), Tiling(300, 20)
    job = SimpleNamespace(grid=grid, tiling=tiling, questions=[], notes=[], task="ss")
    class_map, out = tmp_path / "map.tif", tmp_path / "out.tif"

    def write(limit_map, limit_out):
        with writing(out):
            with small_files(limit_map):
                write_class_map(class_map, job, [NoisyTile(part) for part in tiling.parts(grid.size)])
            with small_files(limit_out):
                finish_raster(class_map, out, grid, cog=cog)

    write(None, None)
    size = out.stat().st_size
    for limit in (size // 2, size - 1):
        with pytest.raises(ValueError, match=r"cannot write out\.tif"):
            write(*((None, limit) if cog else (limit, None)))
