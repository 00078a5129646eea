import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rsunivlm.data.order import group_by_length


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
