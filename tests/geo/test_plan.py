"""What a run will take, counted and measured."""

import numpy as np
import pytest

from rsunivlm.geo import Options, plan_raster


def test_counts(scene):
    plan = plan_raster(scene, task="seg", classes=["road", "water"], options=Options(tile=64, overlap=8))
    assert (plan.size, plan.pixel_metres) == ((230, 170), pytest.approx((0.5, 0.5)))
    assert (plan.tiles, plan.questions, plan.seconds) == (12, 24, None)
    # A bit a pixel for each of 24 masks, 4 characters for 3 bytes; 500 bytes a line; a byte a pixel of map.
    assert plan.disk_bytes == 24 * 64 * 64 // 6 + 24 * 500 + 230 * 170
    coarse = plan_raster(scene, task="cap", options=Options(tile=64, gsd=1.0))
    assert (coarse.size, coarse.tiles, coarse.disk_bytes) == ((115, 85), 4, 2000)


def test_time_is_measured_on_a_tile_with_data(planted, tmp_path):
    bands = planted.paint()
    bands[:, :, 64:] = 0
    source = planted.write(tmp_path / "a.tif", bands, nodata=0)
    predictor = planted.ColourPredictor()
    asked = {"task": "seg", "classes": ["road", "water"], "model": predictor, "model_id": "colours"}
    plan = plan_raster(source, **asked, options=Options(tile=64, overlap=0))
    assert predictor.asked == 2
    assert plan.seconds > 0
    planted.write(source, np.zeros_like(bands), nodata=0)
    assert plan_raster(source, **asked).seconds == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gsd": 0.0}, "--gsd must be above 0"),
        ({"iou": 0.0}, "--iou must be above 0"),
        ({"min_pixels": 0}, "--min-pixels must be at least 1"),
        ({"batch_size": 0}, "--batch-size must be at least 1"),
    ],
)
def test_impossible_options(settings, message):
    with pytest.raises(ValueError, match=message):
        Options(**settings)
