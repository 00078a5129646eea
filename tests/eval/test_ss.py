"""Segmentation scores: hand-worked counts, the oracle at the ceiling, planted mistakes, dense references."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as reference

from eval import mask_baselines, ss
from eval.metrics import masks
from eval.predictions import Prediction, read_predictions, write_predictions
from eval.scoring import score, with_scores
from eval.tasks import protocol_of
from eval.tiling import UNREAD
from rsunivlm.codecs import MaskCodec
from rsunivlm.inference.answer import Answer
from rsunivlm.tasks import route

STRICT, PAPER = (protocol_of(ss, name, {}) for name in ("strict", "paper"))


def prediction(number, label, answer, truth, valid=None, image=0):
    """Masks as dense arrays; an answer of None is unreadable."""
    rle = {"mask": None if answer is None else masks.encode(answer)}
    target = {
        "mask": masks.encode(truth),
        "valid": None if valid is None else masks.encode(valid),
        "label": label,
    }
    height, width = truth.shape
    return Prediction(
        id=str(number), benchmark="b", split="test", task="ss", images=(f"{image}.png",),
        image_size=(width, height), prompt="[SEG] it", answer="", parsed=rle, truth=target,
        yardsticks={ss.ALL_FOREGROUND: {"mask": masks.constant((height, width), True)}},
        report={}, route={}, decoder={}, model={},
    )  # fmt: skip


def values(results, *names):
    return [results["metrics"][name]["value"] for name in names]


def row(*columns):
    """A mask of one row, ten pixels wide."""
    mask = np.zeros((1, 10), bool)
    mask[0, list(columns)] = True
    return mask


@pytest.fixture
def by_hand():
    """Two images of ten pixels with a wide class a and a narrow class b; in the first one lacks a label."""
    return [
        prediction(0, "a", row(0, 1, 2, 3), row(0, 1, 2, 3, 4, 5), ~row(9)),
        prediction(1, "b", row(3, 6, 9), row(6, 7), ~row(9)),
        prediction(2, "a", row(), row(), image=1),
        prediction(3, "b", row(0), row(0, 1), image=1),
    ]


def test_hand_worked_binary_scores(by_hand):
    results = score(ss, by_hand, STRICT)
    # a: TP 4, FP 0, FN 2; b: TP 1 + 1, FP 1 (pixel 9 is not labelled), FN 1 + 1.
    iou_a, iou_b = 4 / 6, 2 / 5
    assert values(results, "mIoU", "mF1", "mPrecision", "mRecall") == pytest.approx(
        [(iou_a + iou_b) / 2, (8 / 10 + 4 / 7) / 2, (1 + 2 / 3) / 2, (4 / 6 + 2 / 4) / 2]
    )
    assert values(results, "OA", "cIoU", "gIoU", "mIoU_image") == pytest.approx(
        [1 - 5 / 38, 6 / 11, (4 / 6 + 1 / 3 + 1 + 1 / 2) / 4, (4 / 6 + (1 / 3 + 1 / 2) / 2) / 2]
    )
    assert results["details"]["classes"]["a"]["model"]["IoU"] == pytest.approx(iou_a)
    assert [row["iou"] for row in ss.per_question(by_hand, STRICT)] == pytest.approx([4 / 6, 1 / 3, 1, 1 / 2])
    # Background: pixel 8 in image 0 (also 4, 5, 7 as answered), pixels 2..9 in image 1 (also 1 as answered).
    with_rest = score(ss, by_hand, STRICT | {"background": True})
    assert values(with_rest, "mIoU") == pytest.approx([(iou_a + iou_b + 9 / 13) / 3])
    assert results["details"]["classes"]["(rest)"]["model"]["IoU"] == pytest.approx(9 / 13)


def test_hand_worked_composed_scores(by_hand):
    results = score(ss, by_hand, STRICT | {"composition": "fixed_order"})
    # b is painted over a: pixel 3 is lost to a.
    assert values(results, "mIoU", "OA") == pytest.approx([(3 / 6 + 2 / 5) / 2, (3 + 1 + 1 + 1 + 8) / 19])
    assert "a, b" in results["details"]["composition"]
    overlapping = [*by_hand, prediction(4, "b", row(0), row(0))]
    assert score(ss, overlapping, STRICT)["n"] == 5
    with pytest.raises(ValueError, match=r"masks of 0.png overlap.*--composition binary"):
        score(ss, overlapping, STRICT | {"composition": "fixed_order"})


def test_absent_classes_and_named_backgrounds():
    rows = [
        prediction(0, "a", row(0), row(0, 1)),
        prediction(1, "b", row(5), row()),  # invented
        prediction(2, "c", row(), row()),  # neither there nor answered: undefined
        prediction(3, "clutter", row(2), row(2, 3, 4, 5, 6, 7, 8, 9)),
    ]
    for switches, expected in (
        ({}, (1 / 2 + 0) / 2),
        ({"average": "present"}, 1 / 2),
        ({"background": True}, (1 / 2 + 0 + 1 / 8) / 3),  # every pixel has a class: there is no rest
        ({"background": True, "average": "present"}, (1 / 2 + 1 / 8) / 2),
    ):
        assert values(score(ss, rows, STRICT | switches), "mIoU") == pytest.approx([expected])


@pytest.mark.parametrize("empty_truth", [False, True])
def test_unreadable_answers_are_wrong_not_empty(empty_truth):
    truth = row() if empty_truth else row(0, 1, 2)
    rows = [prediction(0, "a", None, truth), prediction(1, "a", row(0, 1), row(0, 1), image=1)]
    results = score(ss, rows, STRICT)
    assert results["unparsable"] == 1
    assert values(results, "OA", "mIoU", "gIoU") == pytest.approx([10 / 20, 2 / 12, 1 / 2])
    assert "wrong" in results["details"]["unparsable"]
    lenient = score(ss, rows, STRICT | {"unreadable": "empty"})
    expected = [1.0, 1.0, 1.0] if empty_truth else [17 / 20, 2 / 5, 1 / 2]
    assert values(lenient, "OA", "mIoU", "gIoU") == pytest.approx(expected)
    assert PAPER["unreadable"] == "empty"


def test_pixels_of_an_unreadable_tile_are_wrong():
    ids = np.array([[1, 1, 0, 0, 2, 2, 2, 0, 0, 0]], np.uint8)
    good = MaskCodec(2).decode("a*2\na*2", ["others", "a"], (2, 2))[1]
    answer = Answer("", route("[SEG] a"), mask=ids, labels=("others", "a", UNREAD), report=good)
    parsed = ss.parsed(answer)
    assert masks.decode(parsed["unread"]).tolist() == [(ids[0] == 2).tolist()]
    rows = [replace(prediction(0, "a", row(), row(0, 4)), parsed=parsed)]
    results = score(ss, rows, STRICT)
    assert values(results, "OA", "mIoU") == pytest.approx([1 - 4 / 10, 1 / 5])
    rest = results["details"]["classes"]["(rest)"]["model"]
    assert rest["IoU"] == pytest.approx(5 / 9)  # right in 2, 3, 7, 8, 9; wrong in 1, 4, 5, 6
    assert values(score(ss, rows, STRICT | {"unreadable": "empty"}), "OA") == pytest.approx([1 - 2 / 10])


def label_maps(rng, classes, size=(9, 11)):
    return rng.integers(-1, classes + 1, size)  # -1 unlabelled, 0 rest, 1.. classes


def test_composed_scores_equal_a_dense_label_map_on_200_random_cases():
    rng = np.random.default_rng(5)
    for _ in range(200):
        classes, images = int(rng.integers(1, 4)), int(rng.integers(1, 4))
        rows, truths, saids = [], [], []
        for image in range(images):
            truth = label_maps(rng, classes)
            said = np.zeros_like(truth)
            for number in range(1, classes + 1):
                answer = rng.random(truth.shape) < 0.4
                said[answer] = number
                rows.append(
                    prediction(len(rows), f"c{number}", answer, truth == number, truth >= 0, image=image)
                )
            truths.append(truth[truth >= 0])
            saids.append(said[truth >= 0])
        truth, said = np.concatenate(truths), np.concatenate(saids)
        results = score(ss, rows, PAPER, resamples=1)
        ious = reference.jaccard_score(truth, said, labels=sorted({*truth, *said} - {0}), average=None)
        rest = reference.jaccard_score(truth == 0, said == 0)
        np.testing.assert_allclose(
            values(results, "mIoU", "OA"),
            [np.mean([*ious, rest]), reference.accuracy_score(truth, said)],
        )
        f1 = reference.f1_score(truth, said, labels=sorted({*truth, *said}), average="macro")
        np.testing.assert_allclose(values(results, "mF1"), [f1])


def test_oracle_scores_exactly_the_ceiling(ask, mask_oracle):
    for protocol in (STRICT, PAPER, STRICT | {"background": True}):
        results = score(ss, ask(mask_oracle(), ss, "ss"), protocol)
        assert results["metrics"] == results["yardsticks"][mask_baselines.CEILING]
        assert 0.8 < results["metrics"]["mIoU"]["value"] < 1  # eight cells a side cost something
        classes = results["details"]["classes"]
        assert all(entry["model"] == entry[mask_baselines.CEILING] for entry in classes.values())
    assert results["unparsable"] == 0


@pytest.mark.parametrize(
    "spoil",
    [
        lambda ids: ids[::-1],
        lambda ids: ids[:, ::-1],
        lambda ids: np.roll(ids, 1, axis=0),
        lambda ids: np.where(ids == 2, 2, 1 - ids),
    ],
    ids=["upside down", "mirrored", "moved by one row", "inverted"],
)
def test_a_planted_mistake_falls_below_the_ceiling(ask, mask_oracle, spoil):
    oracle = mask_oracle(spoil)
    oracle.mask_codec = MaskCodec(60)  # a row of the grid is a row of the picture
    results = score(ss, ask(oracle, ss, "ss"), STRICT)
    gap = results["margins"][mask_baselines.CEILING]["mIoU"]
    assert gap["high"] < -0.02


def test_shuffled_answers_score_like_the_constant_prior(ask, mask_oracle):
    rows = ask(mask_oracle(), ss, "ss")
    order = [(index + 2) % len(rows) for index in range(len(rows))]  # the same class, the next image
    with_building = [r for r in rows if masks.area(r.truth["mask"])]
    shuffled = [replace(one, parsed=rows[other].parsed) for one, other in zip(rows, order, strict=True)]
    results = score(ss, shuffled, STRICT)
    baseline = results["yardsticks"][mask_baselines.PRIOR]["mIoU"]
    assert baseline["low"] <= results["metrics"]["mIoU"]["value"] <= baseline["high"]
    assert results["metrics"]["mIoU"]["value"] < score(ss, rows, STRICT)["metrics"]["mIoU"]["low"]
    assert len(with_building) == 18


def test_scores_are_recomputed_from_the_file_alone(ask, mask_oracle, tmp_path):
    def sometimes(text, prompt):
        return "sorry" if "2" in prompt else text

    rows = with_scores(ss, ask(mask_oracle(say=sometimes), ss, "ss"), STRICT)
    write_predictions(tmp_path / "p.jsonl", rows)
    again = read_predictions(tmp_path / "p.jsonl")
    assert score(ss, again, PAPER, seed=3) == score(ss, rows, PAPER, seed=3)
    assert score(ss, again, STRICT)["unparsable"] == 2
    assert [row.parsed["mask"] for row in again[4:6]] == [None, None]
    assert again[4].score == {"iou": 0.0}


def test_many_labels_are_pooled():
    rows = [prediction(number, f"thing {number}", row(0), row(0, 1), image=number) for number in range(101)]
    results = score(ss, rows, STRICT, resamples=2)
    assert list(results["details"]["classes"]) == ["all labels", "(rest)"]
    assert values(results, "mIoU", "cIoU", "gIoU") == [0.5, 0.5, 0.5]
    assert (
        score(ss, rows, STRICT | {"composition": "fixed_order"}, resamples=2)["metrics"]["OA"]["value"] == 0.9
    )
