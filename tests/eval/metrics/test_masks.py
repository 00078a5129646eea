"""Counts on run lengths against dense pixels, rates against scikit-learn, and their undefined cases."""

import numpy as np
import pytest
from pycocotools.mask import frPyObjects
from sklearn import metrics as reference

from eval.metrics import masks


def random_masks(rng):
    """Answer, truth, valid, unread and hidden of one size, from sparse to full, some of them blocky."""
    shape = tuple(rng.integers(1, 40, 2))
    found = []
    for _ in range(5):
        mask = rng.random(shape) < rng.choice([0.0, 0.05, 0.5, 0.9, 1.0])
        if rng.random() < 0.5:
            mask = np.kron(mask[::4, ::4], np.ones((4, 4), bool))[: shape[0], : shape[1]]
        found.append(mask)
    return found


def dense(answer, truth, valid, unread, hidden):
    """The same counts, pixel by pixel, by another road: unread pixels say the opposite of the truth."""
    said = np.where(unread, ~truth, answer & ~hidden)
    said, truth = said[valid], truth[valid]
    if not truth.size:
        return 0, 0, 0, 0
    matrix = reference.confusion_matrix(truth, said, labels=[True, False])
    (tp, fn), (fp, tn) = matrix.tolist()
    return tp, fp, fn, tn


def test_counts_equal_dense_pixels_on_200_random_cases():
    rng = np.random.default_rng(0)
    for case in range(200):
        answer, truth, valid, unread, hidden = random_masks(rng)
        everywhere, nowhere = np.ones_like(truth), np.zeros_like(truth)
        kept = answer & ~unread if case % 2 else answer
        rles = [masks.encode(mask) for mask in (kept, truth, valid, unread, hidden)]
        assert masks.confusion(*rles[:2]) == dense(kept, truth, everywhere, nowhere, nowhere)
        assert masks.confusion(*rles[:3]) == dense(kept, truth, valid, nowhere, nowhere)
        if case % 2:
            assert masks.confusion(*rles) == dense(kept, truth, valid, unread, hidden)


def test_rates_equal_scikit_learn_on_200_random_cases():
    rng = np.random.default_rng(1)
    pairs = {
        masks.iou: reference.jaccard_score,
        masks.f1: lambda t, s: reference.f1_score(t, s, zero_division=np.nan),
        masks.precision: lambda t, s: reference.precision_score(t, s, zero_division=np.nan),
        masks.recall: lambda t, s: reference.recall_score(t, s, zero_division=np.nan),
        masks.accuracy: reference.accuracy_score,
    }
    for _ in range(200):
        answer, truth = random_masks(rng)[:2]
        counts = masks.confusion(masks.encode(answer), masks.encode(truth))
        for rate, expected in pairs.items():
            if rate is masks.iou and not (answer | truth).any():
                assert np.isnan(rate(counts))  # scikit-learn has no NaN for this one
                continue
            value = expected(truth.ravel(), answer.ravel())
            np.testing.assert_allclose(rate(counts), value, err_msg=rate.__name__)
        swapped = masks.confusion(masks.encode(~answer), masks.encode(~truth))
        assert masks.complement(counts).tolist() == list(swapped)


def test_run_lengths_are_those_of_coco_and_keep_every_pixel():
    rng = np.random.default_rng(2)
    mask = rng.random((37, 53)) < 0.3
    rle = masks.encode(mask)
    assert rle["size"] == [37, 53]
    assert isinstance(rle["counts"], str)
    assert (masks.decode(rle) == mask).all()
    # Columns first, zeros first: two rows, three columns, the lower left pixel set.
    lower_left = np.array([[0, 0, 0], [1, 0, 0]])
    by_hand = frPyObjects({"size": [2, 3], "counts": [1, 1, 4]}, 2, 3)
    assert masks.encode(lower_left)["counts"] == by_hand["counts"].decode()
    for inside in (False, True):
        assert masks.constant((37, 53), inside) == masks.encode(np.full((37, 53), inside))


def test_a_moved_row_and_a_flip_change_the_counts():
    truth = np.zeros((20, 30), bool)
    truth[4:9, 3:20] = True
    exact, moved, flipped = truth, np.roll(truth, 1, axis=0), truth[:, ::-1]
    counts = [masks.confusion(masks.encode(said), masks.encode(truth)) for said in (exact, moved, flipped)]
    assert masks.iou(counts).tolist() == pytest.approx([1.0, 4 / 6, 10 * 5 / (24 * 5)])


def test_masks_of_different_sizes_are_refused():
    with pytest.raises(ValueError, match=r"different sizes.*\(4, 5\).*\(5, 4\)"):
        masks.confusion(masks.constant((4, 5), True), masks.constant((5, 4), True))
