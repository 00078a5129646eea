"""What tiles keep covers a scene once and brings back what they were cut from."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsunivlm.inference.tiling import Tiling


@settings(deadline=None)
@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.integers(1, 40).flatmap(lambda tile: st.tuples(st.just(tile), st.integers(0, tile - 1))),
)
def test_what_tiles_keep_covers_every_pixel_once(size, numbers):
    tiling = Tiling(*numbers)
    scene = np.arange(size[0] * size[1]).reshape(size[1], size[0])
    times, copy = np.zeros_like(scene), np.zeros_like(scene)
    assert tiling.count(size) == len(list(tiling.parts(size)))
    for part in tiling.parts(size):
        tile = part.of(scene)
        assert tile.shape == (min(tiling.tile, size[1]), min(tiling.tile, size[0]))
        part.paste(tile, copy)
        part.paste(np.ones_like(tile), inner := np.zeros_like(scene))
        times += inner
    assert (times == 1).all()
    assert (copy == scene).all()


def test_the_cut_runs_through_the_middle_of_the_overlap():
    kept = [(part.window.x, part.kept.x, part.kept.width) for part in Tiling(10, 4).parts((25, 5))]
    # Tiles at 0, 6, 12 and, moved back to the border, 15; overlaps 6..10, 12..16 and 15..22.
    assert kept == [(0, 0, 8), (6, 8, 6), (12, 14, 5), (15, 19, 6)]
    parts = list(Tiling(10, 4).parts((25, 12)))
    assert [(part.window.y, part.kept.y, part.kept.height) for part in parts[::4]] == [(0, 0, 6), (2, 6, 6)]


@pytest.mark.parametrize(("tile", "overlap"), [(0, 0), (8, 8), (8, -1)])
def test_impossible_tiles_are_refused(tile, overlap):
    with pytest.raises(ValueError, match="--tile must be at least 1 and --overlap"):
        Tiling(tile, overlap)


def test_options():
    assert Tiling.given(None, None) is None
    assert Tiling.given(512, None) == Tiling(512, 64)
    with pytest.raises(ValueError, match="--overlap needs --tile"):
        Tiling.given(None, 3)
