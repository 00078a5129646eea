import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rsunivlm.data.order import group_by_image, group_by_length


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    lengths=st.lists(st.integers(1, 500), max_size=200),
    batch_size=st.integers(1, 9),
    window=st.integers(1, 6),
    seed=st.integers(0, 3),
)
def test_order_is_a_permutation_that_stays_in_its_windows(lengths, batch_size, window, seed) -> None:
    order = group_by_length(np.array(lengths), batch_size, window, seed)
    assert sorted(order.tolist()) == list(range(len(lengths)))
    span = batch_size * window
    assert all(position // span == place // span for place, position in enumerate(order.tolist()))
    assert np.array_equal(order, group_by_length(np.array(lengths), batch_size, window, seed))


def test_batches_hold_like_lengths_in_shuffled_order() -> None:
    lengths = np.random.default_rng(0).permutation(64)
    batches = lengths[group_by_length(lengths, 4, 16, seed=1)].reshape(16, 4)
    assert all(batch.max() - batch.min() == 3 for batch in batches)
    assert batches[:, 0].tolist() != sorted(batches[:, 0].tolist())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.integers(1, 60)), min_size=1, max_size=120),
    st.integers(1, 5),
)
def test_groups_hold_every_sample_once_and_are_bounded(
    samples: list[tuple[int, int, int]], most: int
) -> None:
    shown, kinds, rests = (np.array(column) for column in zip(*samples, strict=True))
    prefixes = 20 + 5 * shown  # what samples about one image share depends on the image
    lengths = prefixes + rests
    about = np.stack([shown, kinds], axis=1)
    options = {"most": most, "capacity": 120, "seed": 3}
    groups = group_by_image(about, lengths, prefixes, **options)
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(samples)))
    for group in groups:
        assert len(group) <= most
        assert len({tuple(about[row]) for row in group}) == 1
        assert prefixes[group[0]] + rests[group].sum() <= 120
        assert sorted(group) == list(group)
    again = group_by_image(about, lengths, prefixes, **options)
    assert all(np.array_equal(a, b) for a, b in zip(groups, again, strict=True))


def test_samples_about_one_image_meet_and_large_groups_come_at_any_time() -> None:
    rng = np.random.default_rng(0)
    # 300 images with eight questions each, 2400 with one, in random order.
    shown = rng.permutation(np.concatenate([np.repeat(np.arange(300), 8), np.arange(300, 2700)]))
    lengths = np.full(len(shown), 50)
    groups = group_by_image(shown, lengths, np.full(len(shown), 40), most=4, capacity=1000, seed=0)
    sizes = np.array([len(group) for group in groups])
    assert np.bincount(sizes).tolist() == [0, 2400, 0, 0, 600]
    places = np.flatnonzero(sizes == 4) / len(groups)
    assert abs(places.mean() - 0.5) < 0.05
    other = group_by_image(shown, lengths, np.full(len(shown), 40), most=4, capacity=1000, seed=1)
    assert not np.array_equal(np.concatenate(groups), np.concatenate(other))
