"""Question answering: the paper's fractions, rules and types by hand, oracle, shuffle, planted mistakes."""

from dataclasses import replace

import numpy as np
import pytest

from eval import vqa
from eval.predictions import read_predictions, write_predictions
from eval.scoring import score, with_scores
from eval.tasks import protocol_of
from rsunivlm.data.records import Record

STRICT, PAPER = (protocol_of(vqa, name, {}) for name in ("strict", "paper"))


def values(cells):
    return {name: cell["value"] for name, cell in cells.items()}


def target(answer, kind="presence"):
    return {"answer": answer, "type": kind}


def balanced(count):
    """Yes-or-no questions of two types, half of each answered yes."""
    answers = np.random.default_rng(0).permutation(["yes", "no"] * (count // 2)).tolist()
    return [target(answer, ("presence", "comp")[index % 2]) for index, answer in enumerate(answers)]


def test_hand_worked_scores(ask_text):
    targets = [
        target("yes"),
        target("no"),
        target("2", "count"),
        target("rural", "rural_urban"),
        target("no"),
    ]
    rows = ask_text(vqa, "vqa", targets, ["Yes.", "yes", "two", " ", "no"], per_image=2)
    results = score(vqa, rows, STRICT)
    assert values(results["metrics"]) == {
        "macro_accuracy": (2 / 3 + 0) / 2,
        "micro_accuracy": 2 / 4,
        "presence": 2 / 3,
        "rural_urban": 0,
    }
    assert (results["n"], results["images"], results["unparsable"]) == (4, 3, 1)
    assert results["left_out_by_protocol"] == 1
    assert results["details"]["types"]["presence"] == {"questions": 3, "right": 2}
    with_counts = score(vqa, rows, STRICT | {"counts": True})["metrics"]
    assert (with_counts["count"]["value"], with_counts["micro_accuracy"]["value"]) == (1, 3 / 5)
    assert [row.score for row in with_scores(vqa, rows, STRICT)] == [
        {"right": 1},
        {"right": 0},
        {},
        {"right": 0},
        {"right": 1},
    ]


def test_fractions_behind_the_papers_table_2(ask_text):
    asked = {"rural_urban": (92, 100), "presence": (2704, 2955), "comp": (3708, 4002), "count": (0, 2947)}
    first = ask_text(vqa, "vqa", [target("yes")], ["yes"])[0]
    rows = [
        replace(
            first,
            id=f"{kind}{number}",
            images=(f"{number % 100}.tif",),
            truth={"answer": "yes", "type": kind},
            parsed={"text": "yes" if number < right else "no"},
            yardsticks={},
        )
        for kind, (right, total) in asked.items()
        for number in range(total)
    ]
    results = score(vqa, rows, PAPER, resamples=2)
    assert (results["n"], results["left_out_by_protocol"]) == (7057, 2947)
    table = {name: round(100 * value, 2) for name, value in values(results["metrics"]).items()}
    assert table == {
        "macro_accuracy": 92.05,
        "micro_accuracy": 92.16,
        "rural_urban": 92.00,
        "presence": 91.51,
        "comp": 92.65,
    }


def test_rules_are_switches(ask_text):
    rows = ask_text(
        vqa, "vqa", [target("urban"), target("urban"), target("no")], ["urb", "", "no, it is not"]
    )
    found = {
        rule: values(score(vqa, rows, STRICT | {"match": rule})["metrics"])["micro_accuracy"]
        for rule in ("exact", "lhrs")
    }
    assert found == {"exact": 0, "lhrs": 1 / 3}
    flaw = STRICT | {"match": "lhrs", "empty_is_right": True}
    assert values(score(vqa, rows, flaw)["metrics"])["micro_accuracy"] == 2 / 3
    assert PAPER["match"] == "lhrs"
    assert not PAPER["empty_is_right"]


def test_oracle_is_always_right(ask_text):
    targets = balanced(40)
    results = score(vqa, ask_text(vqa, "vqa", targets, [each["answer"] for each in targets]), STRICT)
    assert set(values(results["metrics"]).values()) == {1}


def test_shuffled_answers_score_like_the_baseline(ask_text):
    targets = balanced(400)
    shuffled = np.random.default_rng(1).permutation([each["answer"] for each in targets]).tolist()
    results = score(vqa, ask_text(vqa, "vqa", targets, shuffled), STRICT)
    for name, cell in results["yardsticks"][vqa.FREQUENT].items():
        margin = results["margins"][vqa.FREQUENT][name]
        assert margin["low"] <= 0 <= margin["high"] or abs(cell["value"] - 0.5) < 0.1


def test_answers_moved_by_one_question_are_caught(ask_text):
    targets = balanced(100)
    answers = [each["answer"] for each in targets]
    results = score(vqa, ask_text(vqa, "vqa", targets, answers[1:] + answers[:1]), STRICT)
    assert values(results["metrics"])["macro_accuracy"] < 0.7


def test_other_right_answers_count(ask_text):
    targets = [target("boat") | {"answers": ["ship", "vessel"]}, target("boat", "")]
    rows = ask_text(vqa, "vqa", targets, ["a ship", "ship"])
    results = score(vqa, rows, STRICT)
    assert values(results["metrics"]) == {
        "macro_accuracy": 0.5,
        "micro_accuracy": 0.5,
        "presence": 1,
        vqa.UNTYPED: 0,
    }


def test_baseline_says_what_it_was_fitted_on(text_questions, fake_predictor):
    questions = text_questions(vqa, "vqa", [target("No."), target("no"), target("yes"), target("3", "count")])
    model = fake_predictor(str)
    alone = vqa.yardsticks(questions, model)
    # Without the question itself two answers are left, one each; "no" comes first. Counting stands alone.
    assert [answer["text"] for answer in alone.answers[vqa.FREQUENT]] == ["no", "no", "no", "no"]
    assert "all other images" in alone.definitions[vqa.FREQUENT]
    fitted = vqa.yardsticks(replace(questions, fit_split="train", fit_records=questions.records[2:3]), model)
    assert [answer["text"] for answer in fitted.answers[vqa.FREQUENT]] == ["yes"] * 4
    assert "split train" in fitted.definitions[vqa.FREQUENT]
    one_image = replace(questions, records=questions.records[:1])
    assert vqa.yardsticks(one_image, model).answers == {}


def test_scores_are_recomputed_from_the_file_alone(ask_text, tmp_path):
    rows = ask_text(vqa, "vqa", balanced(20), ["yes"] * 20)
    write_predictions(tmp_path / "p.jsonl", rows)
    assert score(vqa, read_predictions(tmp_path / "p.jsonl"), PAPER) == score(vqa, rows, PAPER)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (None, "targets"),
        ({"type": "count"}, "'answer'"),
        ({"answer": 3}, "'answer'"),
        ({"answer": "."}, "'answer'"),
        ({"answer": "yes", "answers": ["yes", None]}, "'answers'"),
        ({"answer": "yes", "answers": "no"}, None),
        ({"answer": "yes", "type": 4}, "'type'"),
    ],
)
def test_targets_that_cannot_be_scored_are_refused(make_record, targets, message):
    record = Record.from_json(make_record(7, [1, 2, 3, 4]) | {"targets": targets})
    if message is None:
        return vqa.check(record)
    with pytest.raises(ValueError, match=f"record q7.*{message}"):
        vqa.check(record)
    return None


def test_real_questions_are_scored_without_counting(rs_sample, ask_text, fake_predictor):
    from eval import benchmarks
    from rsunivlm.tasks import Task

    questions = benchmarks.load("rsvqa_lr", Task.VQA, vqa, rs_sample("rsvqa_lr"), None)
    kinds = {record.targets["type"] for record in questions.records}
    assert kinds == {"presence", "comp", "count", "rural_urban"}
    constant = vqa.yardsticks(questions, fake_predictor(str)).answers[vqa.FREQUENT]
    by_type = {
        (record.targets["type"], answer["text"])
        for record, answer in zip(questions.records, constant, strict=True)
    }
    assert len(by_type) == len(kinds)  # one constant per type
