"""The permutation test: exact cases by hand and by brute force, its level, its power."""

from itertools import product

import numpy as np
import pytest

from eval.metrics.permutation import swap_test


def ratio(sums_RS):
    """A metric that is no mean: a ratio of two sums."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return sums_RS[:, :1] / sums_RS[:, 1:]


def accuracy(sums_RS):
    return sums_RS[:, :1] / len(sums_RS.T)


def test_hand_worked():
    # Three images; the second run is right on all, the first on none. Of the 8 assignments, two (no swap and
    # all swapped) give a difference of 3 hits: p = 2 / 8.
    first, second = np.zeros((3, 1)), np.ones((3, 1))
    result = swap_test(first, second, "abc", lambda sums_RS: sums_RS / 3)
    assert result.p_values == pytest.approx([0.25])
    assert (result.swaps, result.exact) == (8, True)
    # The same three questions about one image say nothing.
    assert swap_test(first, second, "aaa", lambda sums_RS: sums_RS / 3).p_values == [1.0]


def test_equals_enumeration_for_a_metric_that_is_no_mean():
    rng = np.random.default_rng(3)
    clusters = rng.integers(0, 6, 40)
    first, second = rng.integers(0, 9, (2, 40, 2)) + np.array([0, 1])
    real = abs(ratio(first.sum(axis=0)[None]) - ratio(second.sum(axis=0)[None])).item()
    reached = []
    for swapped in product((False, True), repeat=6):
        swap_N1 = np.array(swapped)[clusters][:, None]
        mine = np.where(swap_N1, second, first).sum(axis=0)
        other = np.where(swap_N1, first, second).sum(axis=0)
        reached.append(abs(mine[0] / mine[1] - other[0] / other[1]) >= real - 1e-12)
    assert swap_test(first, second, clusters, ratio).p_values == pytest.approx([np.mean(reached)])


def test_drawn_swaps_come_near_the_exact_p():
    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 2, (2, 12, 1))
    exact = swap_test(first, second, range(12), accuracy, permutations=2**12)
    drawn = swap_test(first, second, range(12), accuracy, permutations=4000)
    assert exact.exact
    assert not drawn.exact
    assert drawn.swaps == 4000
    assert drawn.p_values == pytest.approx(exact.p_values, abs=0.04)
    again = swap_test(first, second, range(12), accuracy, permutations=4000)
    assert (again.p_values == drawn.p_values).all()


def test_level_and_power():
    """Two equal runs: p below a level no more often than the level says. A better run: small p."""
    rng = np.random.default_rng(0)
    same, better = [], []
    for _ in range(400):
        clusters = rng.integers(0, 30, 120)
        hard = rng.random(30)[clusters]  # questions about one image fail together
        first, second = (rng.random((2, 120)) < hard)[:, :, None].astype(float)
        good = (rng.random((120, 1)) < 0.5 + hard[:, None] / 2).astype(float)
        for found, other in ((same, second), (better, good)):
            test = swap_test(first, other, clusters, accuracy, permutations=200, seed=len(found))
            found.append(test.p_values[0])
    same = np.array(same)
    for level in (0.05, 0.2, 0.5):
        # Three standard errors of a share of 400; ties make the test a little careful.
        spread = 3 * np.sqrt(level * (1 - level) / 400)
        assert level - spread - 0.08 < (same <= level).mean() < level + spread
    assert np.median(better) < 0.01


def test_undefined_metrics():
    zeros = np.zeros((4, 2))
    assert np.isnan(swap_test(zeros, zeros, range(4), ratio).p_values).all()
    # Where a swap leaves a run without a denominator, that counts for chance.
    first, second = np.array([[1.0, 1], [0, 0]]), np.array([[0.0, 1], [0, 0]])
    assert swap_test(first, second, range(2), ratio).p_values == [1.0]
