"""IoU conventions: hand-worked values, brute-force counting, and two independent implementations."""

import numpy as np
import pytest

from eval.metrics.boxes import CONVENTIONS, box_iou, iou_under, quantise
from rsunivlm.codecs import BoxCodec


def random_boxes(count, seed, side=100, whole=False):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, side, (count, 2, 2))
    corners = np.floor(corners) if whole else corners
    return np.concatenate([corners.min(axis=1), corners.max(axis=1) + 1], axis=1)


@pytest.mark.parametrize(
    ("a", "b", "plain", "plus1"),
    [
        ([0, 0, 10, 10], [3, 3, 13, 13], 49 / 151, 64 / 178),  # .325 -> .360
        ([0, 0, 10, 10], [0, 0, 10, 10], 1, 1),
        ([0, 0, 10, 10], [0, 0, 10, 5], 1 / 2, 66 / 121),
        ([0, 0, 10, 10], [10, 0, 20, 10], 0, 11 / 231),  # sides touch: one shared column of cells
        ([0, 0, 10, 10], [30, 30, 40, 40], 0, 0),
        ([5, 5, 5, 5], [5, 5, 5, 5], 0, 1),  # a point has no area, but is one cell
    ],
)
def test_hand_worked(a, b, plain, plus1):
    assert box_iou(a, b) == pytest.approx(plain)
    assert box_iou(a, b, plus1=True) == pytest.approx(plus1)


def test_equals_torchvision_and_pycocotools():
    torch = pytest.importorskip("torch")
    torchvision = pytest.importorskip("torchvision")
    coco = pytest.importorskip("pycocotools.mask")
    a, b = random_boxes(60, 0), random_boxes(50, 1)
    ours = box_iou(a[:, None], b[None])
    theirs = torchvision.ops.box_iou(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-12)

    def as_xywh(boxes):
        return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)

    np.testing.assert_allclose(ours, coco.iou(as_xywh(a), as_xywh(b), [0] * len(b)), atol=1e-12)


@pytest.mark.parametrize("plus1", [False, True])
def test_equals_counting_cells(plus1):
    a, b = random_boxes(40, 2, side=12, whole=True), random_boxes(40, 3, side=12, whole=True)

    def cells(box):
        x1, y1, x2, y2 = box.astype(int)
        last = int(plus1)  # +1 counts the last row and column as inside
        return {(x, y) for x in range(x1, x2 + last) for y in range(y1, y2 + last)}

    counted = [len(cells(p) & cells(q)) / len(cells(p) | cells(q)) for p, q in zip(a, b, strict=True)]
    np.testing.assert_allclose(box_iou(a, b, plus1=plus1), counted)


def test_quantised_conventions_round_both_boxes_to_shares_of_their_own_side():
    # On a 200 x 100 image one unit is 2 px wide and 1 px high.
    assert quantise([[20, 10, 41.2, 20.4]], [[200, 100]]).tolist() == [[10, 10, 21, 20]]
    truth, answer = [[100, 100, 110, 110]], [[103, 103, 113, 113]]  # both become [10, 10, 11, 11]
    size = [[1000, 1000]]
    assert iou_under("pixel", answer, truth, size) == pytest.approx(49 / 151)
    assert iou_under("q100", answer, truth, size) == 1
    shifted = [[130, 130, 230, 230]]  # [13, 13, 23, 23] against [10, 10, 20, 20]
    assert iou_under("q100_plus1", shifted, [[100, 100, 200, 200]], size) == pytest.approx(64 / 178)


def test_quantise_agrees_with_the_codec_and_keeps_what_the_codec_wrote():
    codec = BoxCodec()
    boxes, size = random_boxes(200, 4, side=333), (350, 417)
    sizes = [size] * len(boxes)
    for box, units in zip(boxes, quantise(boxes, sizes), strict=True):
        text = codec.encode([box], size)
        if text:
            assert text == "[" + ", ".join(f"{value:.0f}" for value in units) + "]"
            back, _ = codec.decode(text, size)
            np.testing.assert_array_equal(quantise(back, [size])[0], units)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_missing_answer_scores_zero_even_beside_the_origin(convention):
    assert iou_under(convention, [[np.nan] * 4], [[0, 0, 1, 1]], [[100, 100]]) == 0
