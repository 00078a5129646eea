"""The cluster bootstrap: against full enumeration, its treatment of clusters, and its coverage."""

from itertools import product

import numpy as np
import pytest

from eval.metrics.intervals import ClusterBootstrap, percentile_interval


def cluster_bootstrap(scores_NK, clusters, *, level=0.95, resamples=2000, seed=0):
    """Interval of the means of K columns."""
    scores_NK = np.asarray(scores_NK, float)
    columns_NS = np.concatenate([scores_NK, np.ones((len(scores_NK), 1))], axis=1)
    sums_RS = ClusterBootstrap(clusters, resamples=resamples, seed=seed).sums(columns_NS)
    return percentile_interval(sums_RS[:, :-1] / sums_RS[:, -1:], level)


def test_equals_enumeration_of_all_resamples():
    # Four images with 1, 2, 2 and 3 questions: all 4**4 equally likely draws can be listed.
    scores = np.array([0.9, 0.1, 0.4, 0.7, 0.8, 0.2, 0.35, 0.55])
    clusters = ["a", "b", "b", "c", "c", "d", "d", "d"]
    members = [[s for s, c in zip(scores, clusters, strict=True) if c == name] for name in "abcd"]
    means = []
    for draw in product(range(4), repeat=4):
        drawn = [score for image in draw for score in members[image]]
        means.append(sum(drawn) / len(drawn))
    exact = np.quantile(means, [0.1, 0.9])
    low, high = cluster_bootstrap(scores[:, None], clusters, level=0.8, resamples=40_000)
    assert (low[0], high[0]) == pytest.approx(tuple(exact), abs=0.01)


def test_repeating_questions_of_an_image_adds_no_certainty():
    rng = np.random.default_rng(0)
    scores, images = rng.random((30, 2)), list(range(30))
    once = np.stack(cluster_bootstrap(scores, images))
    repeated = np.stack(cluster_bootstrap(np.repeat(scores, 5, axis=0), np.repeat(images, 5).tolist()))
    np.testing.assert_allclose(repeated, once)
    as_if_independent = np.stack(cluster_bootstrap(np.repeat(scores, 5, axis=0), list(range(150))))
    assert ((as_if_independent[1] - as_if_independent[0]) < 0.6 * (once[1] - once[0])).all()


def test_interval_covers_the_true_mean_about_as_often_as_it_says():
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        of_image = rng.normal(0.5, 0.2, 40).repeat(3)
        scores = of_image + rng.normal(0, 0.1, 120)
        low, high = cluster_bootstrap(
            scores[:, None], np.arange(40).repeat(3).tolist(), resamples=400, seed=seed
        )
        covered += bool(low[0] <= 0.5 <= high[0])
    assert 0.89 <= covered / 200 <= 0.98  # 95 % nominal, a little less with 40 images


def test_seed_decides_and_columns_share_draws():
    scores = np.random.default_rng(1).random((50, 1))
    columns = np.concatenate([scores, scores, scores - scores], axis=1)
    first, second = (np.stack(cluster_bootstrap(columns, list(range(50)), seed=7)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first[:, 0], first[:, 1])
    assert not first[:, 2].any()
    assert (np.stack(cluster_bootstrap(columns, list(range(50)), seed=8)) != first).any()


def test_draws_in_which_a_metric_is_undefined_are_left_out():
    values = np.array([[0.0, np.nan], [1.0, np.nan], [np.nan, np.nan], [0.5, np.nan]])
    low, high = percentile_interval(values, 1.0)
    assert (low[0], high[0]) == (0.0, 1.0)
    assert np.isnan([low[1], high[1]]).all()
