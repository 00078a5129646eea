"""Change scores: one confusion matrix, changed tiles beside all, the oracle at the ceiling."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as reference

from eval import cd, mask_baselines
from eval.metrics import masks
from eval.scoring import score, with_scores
from eval.tasks import protocol_of

STRICT, PAPER = (protocol_of(cd, name, {}) for name in ("strict", "paper"))


def values(cells):
    return {name: cell["value"] for name, cell in cells.items()}


@pytest.fixture
def rows(ask, mask_oracle):
    return ask(mask_oracle(), cd, "cd")


def answered(rows, arrays):
    return [
        replace(row, parsed={"mask": masks.encode(array)}) for row, array in zip(rows, arrays, strict=True)
    ]


def test_scores_equal_scikit_learn_over_all_pixels(rows):
    rng = np.random.default_rng(0)
    said = [rng.random((60, 90)) < 0.3 for _ in rows]
    truth = [masks.decode(row.truth["mask"]) for row in rows]
    valid = [masks.decode(row.truth["valid"]) for row in rows]
    flat_truth, flat_said = (
        np.concatenate([mask[inside] for mask, inside in zip(arrays, valid, strict=True)])
        for arrays in (truth, said)
    )
    given = answered(rows, said)
    results = score(cd, given, STRICT)
    assert values(results["metrics"]) == pytest.approx(
        {
            "F1": reference.f1_score(flat_truth, flat_said),
            "precision": reference.precision_score(flat_truth, flat_said),
            "recall": reference.recall_score(flat_truth, flat_said),
            "IoU": reference.jaccard_score(flat_truth, flat_said),
            "OA": reference.accuracy_score(flat_truth, flat_said),
            "mF1": reference.f1_score(flat_truth, flat_said, average="macro"),
            "mIoU": reference.jaccard_score(flat_truth, flat_said, average="macro"),
        }
    )
    tn, fp, fn, tp = reference.confusion_matrix(flat_truth, flat_said).ravel().tolist()
    assert results["details"]["pixels"] == {"tp": tp, "fp": fp, "fn": fn, "tn": tn}
    assert results["details"]["changed_share"] == pytest.approx(flat_truth.mean())


def test_the_paper_row_needs_more_change_than_there_is():
    # Precision and recall of the printed row, and its accuracy, hold together at 12.8 % changed pixels only.
    changed, precision, recall = 0.1285, 0.7313, 0.6780
    tp = changed * recall
    counts = np.array([tp, tp * (1 - precision) / precision, changed - tp, 0])
    counts[3] = 1 - counts.sum()
    f1, p, r, iou, oa, *_ = cd.scores(counts[None])[0]
    assert (p, r) == (pytest.approx(precision), pytest.approx(recall))
    assert oa == pytest.approx(0.9264, abs=2e-3)
    assert (round(100 * f1, 2), round(100 * iou, 2)) == (70.36, 54.28)


def test_changed_tiles_beside_all_tiles(rows):
    nothing = [np.zeros((60, 90), bool)] * len(rows)
    everything_in = [
        array | (index in (4, 7)) for index, array in enumerate(nothing)
    ]  # where nothing changed
    truth = [masks.decode(row.truth["mask"]) | said for row, said in zip(rows, everything_in, strict=True)]
    given = answered(rows, truth)
    results = score(cd, given, STRICT)
    groups = results["details"]["groups"]
    assert (groups["all_tiles"]["n"], groups["changed_only"]["n"]) == (10, 8)
    assert groups["changed_only"]["model"]["F1"] == 1
    assert groups["all_tiles"]["model"] == pytest.approx(values(results["metrics"]))
    assert groups["all_tiles"]["model"]["F1"] < 0.9
    assert groups["label building"] == groups["all_tiles"]
    assert set(groups["all_tiles"]) == {"n", "model", *given[0].yardsticks}
    only = score(cd, given, STRICT | {"changed_only": True})
    assert (only["n"], only["left_out_by_protocol"], only["metrics"]["F1"]["value"]) == (8, 2, 1)
    assert "all_tiles" not in only["details"]["groups"]
    assert PAPER["changed_only"]


def test_oracle_and_baselines(rows):
    results = score(cd, rows, STRICT)
    assert results["metrics"] == results["yardsticks"][mask_baselines.CEILING]
    assert 0.8 < results["metrics"]["F1"]["value"] < 1
    no_change = values(results["yardsticks"][cd.NO_CHANGE])
    assert (no_change["F1"], no_change["recall"], no_change["precision"]) == (0, 0, None)
    assert no_change["OA"] == pytest.approx(1 - results["details"]["changed_share"])
    assert values(results["yardsticks"][cd.ALL_CHANGE])["recall"] == 1


def test_unreadable_answers_cost_more_than_saying_no_change(ask, mask_oracle):
    rows = ask(mask_oracle(say=lambda text, prompt: "" if "4" in prompt else text), cd, "cd")
    results = score(cd, rows, STRICT)
    assert results["unparsable"] == 1
    assert (
        results["metrics"]["F1"]["value"] < results["yardsticks"][mask_baselines.CEILING]["F1"]["value"] - 0.1
    )
    lenient = score(cd, rows, STRICT | {"unreadable": "empty"})
    assert lenient["metrics"] == lenient["yardsticks"][mask_baselines.CEILING]


def test_tiles_show_pairs(rows, scenes):
    shown = cd.tiles(with_scores(cd, rows, STRICT), scenes)
    assert len(shown) == 10
    assert all(tile.before.name == f"before{tile.image.name}" for tile in shown)


def test_one_image_is_refused(rows, scenes):
    from rsunivlm.data.records import read_records

    record = next(read_records(scenes / "cd.jsonl"))
    with pytest.raises(ValueError, match=r"record cd-0-building: task cd needs 2 image\(s\), not 1"):
        cd.check(replace(record, images=record.images[:1]))
