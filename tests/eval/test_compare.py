"""Two runs side by side: hand-worked figures, calibration from end to end, and every refusal."""

import json
from dataclasses import replace

import numpy as np
import pytest

from eval import compare, vg
from eval.compare import difference
from eval.metrics.intervals import ClusterBootstrap
from eval.predictions import Prediction, write_predictions
from eval.runs import UNKNOWN, Run
from eval.tasks import protocol_of
from rsunivlm.tasks import Task

STRICT = protocol_of(vg, "strict", {})
TRUTH = [20.0, 20.0, 40.0, 40.0]
WRONG = [60.0, 60.0, 80.0, 80.0]


def prediction(number, right, image):
    return Prediction(
        id=f"q{number}",
        benchmark="b",
        split="test",
        task="vg",
        images=(f"{image}.png",),
        image_size=(100, 100),
        prompt=f"[VG] it {number}",
        answer="",
        parsed={"boxes_px": [TRUTH if right else WRONG]},
        truth={"boxes_px": [TRUTH]},
        yardsticks={},
        report={},
        route={},
        decoder={},
        model={"id": "m"},
    )


def run_of(rows):
    return Run("p.jsonl", Task.VG, vg, rows, UNKNOWN)


def compared(first, second, images, **options):
    """Compare two lists of right (1) and wrong (0) answers."""
    rows = [
        [prediction(number, hit, image) for number, (hit, image) in enumerate(zip(hits, images, strict=True))]
        for hits in (first, second)
    ]
    pairs = {mine.id: (mine, other) for mine, other in zip(*rows, strict=True)}
    return difference(run_of(rows[0]), pairs, STRICT, **options)


@pytest.fixture
def start(capsys):
    """Run compare.py; returns exit code, stdout lines and stderr."""

    def run(*argv):
        try:
            code = compare.main([str(item) for item in argv])
        except SystemExit as stop:  # argparse's own refusals
            code = stop.code
        captured = capsys.readouterr()
        return code, captured.out.splitlines(), captured.err

    return run


@pytest.fixture
def files(tmp_path):
    """Two predictions files about the same 12 questions."""
    rng = np.random.default_rng(0)
    rows = [
        [prediction(number, rng.random() < share, number // 2) for number in range(12)]
        for share in (0.4, 0.8)
    ]
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for path, mine in zip(paths, rows, strict=True):
        write_predictions(path, mine)
    return paths


def test_hand_worked():
    # Images A (two questions), B, C. Per image the second run has 2, 1 and -1 more hits.
    found = compared([0, 0, 0, 1], [1, 1, 1, 0], "AABC")
    cell = found["metrics"]["acc@0.5"]
    assert (cell["first"], cell["second"], cell["difference"]["value"]) == (0.25, 0.75, 0.5)
    # Swaps change their signs: the sums are 4, 2, 2, 0, 0, -2, -2, -4, and 6 of these 8 reach the observed 2.
    assert cell["p"] == 6 / 8
    assert (found["n"], found["images"], found["unparsable"]) == (4, 3, [0, 0])
    assert found["test"] == {
        "method": "two-sided, answers of the two runs swapped image by image",
        "swaps": 8,
        "exact": True,
        "seed": 0,
    }


def test_interval_is_of_paired_draws():
    rng = np.random.default_rng(5)
    images = rng.integers(0, 20, 60).tolist()
    first, second = (rng.random((2, 60)) < [[0.4], [0.7]]).astype(int)
    cell = compared(first, second, images, seed=4)["metrics"]["acc@0.5"]["difference"]
    sums = ClusterBootstrap([(f"{image}.png",) for image in images], seed=4).sums(
        np.stack([second - first, np.ones(60)], axis=1)
    )
    assert [cell["low"], cell["high"]] == pytest.approx(np.quantile(sums[:, 0] / sums[:, 1], [0.025, 0.975]))
    assert cell["low"] < cell["value"] < cell["high"]


def test_equal_runs_and_clearly_different_ones():
    rng = np.random.default_rng(2)
    images = np.repeat(np.arange(40), 2)
    same = [
        compared(*(rng.random((2, 80)) < 0.5), images, permutations=200, seed=seed)["metrics"]["acc@0.5"]["p"]
        for seed in range(60)
    ]
    assert np.mean(np.array(same) <= 0.05) <= 0.15
    assert 0.3 < np.median(same) < 0.7
    better = compared(rng.random(80) < 0.3, rng.random(80) < 0.8, images)["metrics"]["acc@0.5"]
    assert better["p"] < 0.001
    assert better["difference"]["low"] > 0
    nothing = compared([1, 0, 1], [1, 0, 1], "ABC")["metrics"]["acc@0.5"]
    assert (nothing["p"], nothing["difference"]) == (1.0, {"value": 0.0, "low": 0.0, "high": 0.0})


def test_one_image_says_nothing():
    cell = compared([0, 0, 0], [1, 1, 1], "AAA")["metrics"]["acc@0.5"]
    assert cell["difference"] == {"value": 1.0, "low": None, "high": None}
    assert cell["p"] == 1.0


def test_command_line(start, files, tmp_path):
    out = tmp_path / "deep" / "c.json"
    code, lines, _ = start(*files, "--out", out)
    assert code == 0
    last = json.loads(lines[-1])
    assert json.loads(out.read_text()) == last
    assert (last["task"], last["n"], last["images"], last["test"]["swaps"]) == ("vg", 12, 6, 64)
    row = next(line for line in lines if line.strip().startswith("acc@0.5 ")).split()
    cell = last["metrics"]["acc@0.5"]
    assert row[1:3] == [f"{100 * cell['first']:.1f}", f"{100 * cell['second']:.1f}"]
    assert row[-1] == f"{cell['p']:.4f}"
    turned = json.loads(start(files[1], files[0])[1][-1])["metrics"]["acc@0.5"]
    assert turned["difference"]["value"] == -cell["difference"]["value"]
    assert turned["p"] == cell["p"]


def test_protocol_and_choice_of_metrics(start, files):
    argv = ("--protocol", "paper", "--dedup-image", "--metric", "mean_iou", "--metric", "acc@0.7")
    last = json.loads(start(*files, *argv)[1][-1])
    assert list(last["metrics"]) == ["mean_iou", "acc@0.7"]
    assert last["n"] == 6  # one question per image is left, the same for both runs
    assert last["protocol"] == {
        "name": "paper",
        "iou": "pixel_plus1",
        "strict_threshold": True,
        "dedup_image": True,
    }


def test_another_order_of_the_same_questions(start, files):
    before = json.loads(start(*files)[1][-1])
    files[1].write_text("".join(reversed(files[1].read_text().splitlines(keepends=True))))
    after = json.loads(start(*files)[1][-1])
    assert after["metrics"] == before["metrics"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:-2], "2 only in A (e.g. 'q10')"),
        (
            lambda rows: [replace(rows[0], id="new"), *rows[1:]],
            "1 only in A (e.g. 'q0'); 1 only in B (e.g. 'new')",
        ),
        (
            lambda rows: [*rows[:5], replace(rows[5], prompt="[VG] x"), *rows[6:]],
            "'q5' differs in prompt between",
        ),
        (
            lambda rows: [replace(rows[0], truth={"boxes_px": [WRONG]}, images=("x.png",)), *rows[1:]],
            "'q0' differs in images, truth between",
        ),
        (
            lambda rows: [replace(row, task="vqa", parsed={"text": "yes"}, truth={}) for row in rows],
            "A is of task vg, B of task vqa",
        ),
        (lambda rows: [], "is empty"),
    ],
)
def test_other_questions_are_refused(start, files, tmp_path, change, message):
    rows = compare.read_run(files[1]).predictions
    write_predictions(files[1], change(rows))
    code, lines, err = start(*files, "--out", tmp_path / "c.json")
    assert (code, lines) == (2, [])
    assert err.startswith("error: ")
    for path, name in zip(files, "AB", strict=True):
        err = err.replace(str(path), name)
    assert message in err
    assert not (tmp_path / "c.json").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--metric", "bleu_4"], "--metric bleu_4: unknown; there are acc@0.5, acc@0.7, mean_iou"),
        (["--permutations", "10"], "--permutations must be at least 100"),
        (["--match", "lhrs"], "--match does not apply to this task"),
        (["--out", "."], "--out . is a folder"),
    ],
)
def test_bad_arguments(start, files, argv, message):
    code, lines, err = start(*files, *argv)
    assert (code, lines) == (2, [])
    assert err.count("\n") == 1
    assert message in err
