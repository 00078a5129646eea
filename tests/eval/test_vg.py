"""Grounding scores: hand-worked counts, the oracle at the ceiling, planted mistakes, recomputation."""

import re
from dataclasses import replace

import pytest

from eval import benchmarks, vg
from eval.generation import predict
from eval.predictions import Prediction, read_predictions, write_predictions
from eval.scoring import score
from eval.tasks import protocol_of
from rsunivlm.data.records import Record
from rsunivlm.tasks import Task

STRICT = protocol_of(vg, "strict", {})
TRUTH = [20.0, 20.0, 40.0, 40.0]


def prediction(number, boxes, image="a.png"):
    return Prediction(
        id=str(number),
        benchmark="b",
        split="test",
        task="vg",
        images=(image,),
        image_size=(100, 100),
        prompt="[VG] it",
        answer="",
        parsed={"boxes_px": boxes},
        truth={"boxes_px": [TRUTH]},
        yardsticks={vg.CEILING: {"boxes_px": [TRUTH]}, vg.CENTRE: {"boxes_px": [[25.0, 25.0, 75.0, 75.0]]}},
        report={},
        route={},
        decoder={},
        model={},
    )


@pytest.fixture
def answered(tiny, tmp_path):
    questions = benchmarks.load(str(tiny), Task.VG, vg, None, None)

    def answer(predictor):
        chosen = range(len(questions.records))
        return predict(predictor, questions, vg, chosen, tmp_path / "journals", batch_size=4)[0]

    return answer


def values(metrics):
    return {name: cell["value"] for name, cell in metrics.items()}


def test_hand_worked_scores():
    rows = [
        prediction(0, [TRUTH], "a.png"),  # IoU 1
        prediction(1, [[20.0, 20.0, 40.0, 30.0]], "a.png"),  # exactly 0.5: counts at 0.5
        prediction(2, [], "b.png"),  # unparsable: wrong, stays in the denominator
        prediction(3, [[60.0, 60.0, 80.0, 80.0], TRUTH], "c.png"),  # only the first box counts
    ]
    results = score(vg, rows, STRICT)
    assert values(results["metrics"]) == {
        "acc@0.5": 0.5,
        "acc@0.7": 0.25,
        "mean_iou": 0.375,
        "acc@0.5_parsed_only": 2 / 3,
    }
    assert (results["n"], results["images"], results["unparsable"], results["details"]["several_boxes"]) == (
        4,
        3,
        1,
        1,
    )
    centre = 225 / (400 + 2500 - 225)
    assert results["yardsticks"][vg.CENTRE]["mean_iou"]["value"] == pytest.approx(centre)
    assert results["margins"][vg.CENTRE]["mean_iou"]["value"] == pytest.approx(0.375 - centre)
    assert [row["iou"] for row in vg.per_question(rows, STRICT)] == [1, 0.5, 0, 0]
    for cell in results["metrics"].values():
        assert cell["low"] <= cell["value"] <= cell["high"]


def test_convention_is_used_and_declared():
    # 10 x 10 units, moved by 3 units on both axes: .325 -> .360
    row = replace(prediction(0, [[23.0, 23.0, 33.0, 33.0]]), truth={"boxes_px": [[20.0, 20.0, 30.0, 30.0]]})
    scores = {iou: score(vg, [row], STRICT | {"iou": iou}) for iou in ("pixel", "q100", "q100_plus1")}
    means = {iou: round(results["metrics"]["mean_iou"]["value"], 3) for iou, results in scores.items()}
    assert means == {"pixel": 0.325, "q100": 0.325, "q100_plus1": 0.36}
    assert all(results["protocol"]["iou"] == iou for iou, results in scores.items())


def test_oracle_scores_exactly_the_ceiling(answered, oracle):
    results = score(vg, answered(oracle), STRICT)
    assert results["metrics"] == results["yardsticks"][vg.CEILING]
    assert 0.8 < results["metrics"]["mean_iou"]["value"] < 1  # rounding to 0..100 costs something
    assert results["unparsable"] == 0


@pytest.mark.parametrize(
    "order",
    [(1, 0, 3, 2), (0, 2, 1, 3), (1, 2, 3, 0)],
    ids=["x and y swapped", "x1 x2 y1 y2", "turned by one place"],
)
def test_wrong_box_order_is_caught(answered, oracle, fake_predictor, order):
    def garbled(prompt):
        numbers = re.findall(r"\d+", oracle.text_of(prompt))
        return "[" + ", ".join(numbers[place] for place in order) + "]"

    results = score(vg, answered(fake_predictor(garbled)), STRICT)
    assert results["yardsticks"][vg.CEILING]["acc@0.5"]["value"] == 1
    assert results["metrics"]["acc@0.5"]["value"] < 0.2


def test_unreadable_answers_are_wrong_and_counted(answered, oracle, fake_predictor):
    def sometimes(prompt):
        return "I see nothing." if prompt.endswith(("1", "2", "3")) else oracle.text_of(prompt)

    rows = answered(fake_predictor(sometimes))
    silent = sum(row.answer == "I see nothing." for row in rows)
    results = score(vg, rows, STRICT)
    assert results["unparsable"] == silent > 0
    assert results["metrics"]["acc@0.5"]["value"] == pytest.approx(1 - silent / len(rows))


def test_scores_are_recomputed_from_the_file_alone(answered, oracle, fake_predictor, tmp_path):
    rows = answered(fake_predictor(lambda prompt: oracle.text_of(prompt).replace("1", "2")))
    write_predictions(tmp_path / "p.jsonl", rows)
    assert score(vg, read_predictions(tmp_path / "p.jsonl"), STRICT, seed=3) == score(
        vg, rows, STRICT, seed=3
    )


def test_baselines_say_what_they_were_fitted_on(tiny, oracle):
    questions = benchmarks.load(str(tiny), Task.VG, vg, None, None)
    alone = vg.yardsticks(questions, oracle)
    assert "all other images" in alone.definitions[vg.FREQUENT]
    fitted = vg.yardsticks(replace(questions, fit_split="train", fit_records=questions.records[:5]), oracle)
    assert "5 boxes of split train" in fitted.definitions[vg.FREQUENT]
    boxes = [answer["boxes_px"][0] for answer in fitted.answers[vg.FREQUENT]]
    assert boxes == [boxes[0]] * len(questions.records)  # one constant box
    assert fitted.answers[vg.CENTRE][0] == {"boxes_px": [[24, 16, 72, 48]]}
    one_image = replace(questions, records=questions.records[:2])
    assert vg.FREQUENT not in vg.yardsticks(one_image, oracle).answers


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (None, "targets"),
        ({"boxes_px": [[1, 2, 3, 4]]}, "image_size"),
        ({"boxes_px": [[1, 2, 3, 4]], "image_size": [0, 5]}, "image_size"),
        ({"boxes_px": [], "image_size": [96, 64]}, "one box"),
        ({"boxes_px": [[1, 2, 3, 4], [5, 6, 7, 8]], "image_size": [96, 64]}, "one box"),
        ({"boxes_px": [[1, 2, "3", 4]], "image_size": [96, 64]}, "one box"),
        ({"boxes_px": [[9, 2, 3, 4]], "image_size": [96, 64]}, "empty or outside"),
        ({"boxes_px": [[100, 2, 110, 4]], "image_size": [96, 64]}, "empty or outside"),
    ],
)
def test_targets_that_cannot_be_scored_are_refused(make_record, targets, message):
    record = Record.from_json(make_record(7, [1, 2, 3, 4]) | {"targets": targets})
    with pytest.raises(ValueError, match=f"record q7.*{message}"):
        vg.check(record)
