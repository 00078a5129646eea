"""The plan of packs: complete, within its bounds, close to the best there is."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rsunivlm.data.packing import plan_packs


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 100), st.integers(1, 2)), min_size=1, max_size=200),
    st.integers(2, 9),
    st.integers(1, 80),
)
def test_every_sample_once_and_no_pack_too_full(
    samples: list[tuple[int, int]], max_images: int, window: int
) -> None:
    lengths, images = (np.array(column) for column in zip(*samples, strict=True))
    packs = plan_packs(lengths, images, 100, max_images=max_images, window=window)
    assert sorted(np.concatenate(packs).tolist()) == list(range(len(samples)))
    for pack in packs:
        assert lengths[pack].sum() <= 100
        assert images[pack].sum() <= max_images
        assert len(set((pack // window).tolist())) == 1
    again = plan_packs(lengths, images, 100, max_images=max_images, window=window)
    assert all(np.array_equal(a, b) for a, b in zip(packs, again, strict=True))


def test_packs_are_nearly_full() -> None:
    rng = np.random.default_rng(0)
    lengths = np.concatenate([rng.integers(750, 800, 4000), rng.integers(1000, 1800, 1000)])
    rng.shuffle(lengths)
    packs = plan_packs(lengths, np.ones_like(lengths), 8192)
    assert lengths.sum() / (8192 * len(packs)) > 0.95
