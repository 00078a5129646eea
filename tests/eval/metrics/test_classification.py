"""Accuracies and confusion matrix against scikit-learn, and by hand where there are no questions."""

import warnings

import numpy as np
import pytest

from eval.metrics.classification import confusion_matrix, grouped_accuracies, grouped_columns

CASES = 200


def cases():
    rng = np.random.default_rng(0)
    for _ in range(CASES):
        classes, count = rng.integers(2, 8), rng.integers(1, 40)
        yield classes, rng.integers(0, classes, count), rng.integers(-1, classes, count)


def test_equal_to_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    for classes, truth, answer in cases():
        columns = grouped_columns(truth == answer, truth, classes)
        found = grouped_accuracies(columns.sum(axis=0, keepdims=True))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # answers of classes that do not occur
            balanced = metrics.balanced_accuracy_score(truth, answer)
        assert found.micro[0] == pytest.approx(metrics.accuracy_score(truth, answer), abs=1e-12)
        assert found.macro[0] == pytest.approx(balanced, abs=1e-12)
        labels = [*range(classes), -1]
        expected = metrics.confusion_matrix(truth, answer, labels=labels)[:classes]
        np.testing.assert_array_equal(confusion_matrix(truth, answer, classes), expected)


def test_groups_without_questions_are_undefined_and_left_out_of_the_mean():
    columns = grouped_columns([True, False, True], [0, 0, 2], 3)
    found = grouped_accuracies(np.stack([columns.sum(axis=0), np.zeros(6)]))
    np.testing.assert_array_equal(found.by_group[0], [0.5, np.nan, 1.0])
    assert (found.micro[0], found.macro[0]) == (2 / 3, 0.75)
    assert np.isnan([found.micro[1], found.macro[1], *found.by_group[1]]).all()
