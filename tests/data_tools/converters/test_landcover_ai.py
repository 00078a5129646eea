"""LandCover.ai: cutting as its own script does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fixtures import save_text
from fixtures.landcover_ai import RASTER, make_cut, make_landcover_ai
from PIL import Image

from data_tools.converter import Sample, Settings
from data_tools.converters.landcover_ai import CONVERTERS
from data_tools.report import ConversionReport
from rsunivlm.codecs import MaskCodec

(LANDCOVER,) = CONVERTERS


def read(root: Path, split: str) -> tuple[list[Sample], ConversionReport]:
    report = ConversionReport("landcover_ai")
    settings = Settings(root, out=root / "out", masks=MaskCodec(4))
    return list(LANDCOVER.read(split, settings, report)), report


def test_rasters_and_cut_tiles_give_the_same_samples(tmp_path: Path) -> None:
    make_landcover_ai(tmp_path / "rasters")
    make_cut(tmp_path / "tiles")
    for split in ("train", "val", "test"):
        ours, left = read(tmp_path / "rasters", split)
        theirs, right = read(tmp_path / "tiles", split)
        assert (left.bad_samples, right.bad_samples) == ((4, 4) if split == "train" else (0, 0))
        assert {(s.id, s.answers, s.training) for s in ours} == {
            (s.id, s.answers, s.training) for s in theirs
        }
    assert ours[0].images == (f"images/test/{RASTER}_3.png",)
    assert theirs[0].images == (f"output/{RASTER}_3.jpg",)


def test_tiles_are_counted_over_the_whole_grid(tmp_path: Path) -> None:
    make_landcover_ai(tmp_path)
    samples, _ = read(tmp_path, "train")
    fifth = next(sample for sample in samples if f"{RASTER}_4-road" in sample.id)
    # Number 4 of a grid of 3 columns: x from 512, y from 512.
    with (
        Image.open(tmp_path / f"masks/{RASTER}.tif") as whole,
        Image.open(tmp_path / "out" / fifth.target["mask"]) as tile,
    ):
        np.testing.assert_array_equal(np.asarray(tile), np.asarray(whole)[512:1024, 512:1024])


@pytest.mark.parametrize("line", ["noline", "_5", f"{RASTER}_x"])
def test_a_list_of_something_else_stops(tmp_path: Path, line: str) -> None:
    save_text(tmp_path / "train.txt", f"{RASTER}_1\n{line}\n")
    with pytest.raises(ValueError, match="not of the form raster_number"):
        read(tmp_path, "train")
