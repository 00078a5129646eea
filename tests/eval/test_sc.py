"""Scene classification: counts by hand, both matching rules, oracle, shuffle and planted mistakes."""

from dataclasses import replace

import numpy as np
import pytest

from eval import sc
from eval.scoring import score
from eval.tasks import protocol_of
from rsunivlm.data.records import Record

STRICT, PAPER = (protocol_of(sc, name, {}) for name in ("strict", "paper"))
CLASSES = ["airport", "dense residential", "medium residential", "pond"]


def values(cells):
    return {name: cell["value"] for name, cell in cells.items()}


def target(label):
    return {"label": label, "classes": CLASSES}


def scenes(count):
    return [target(CLASSES[index % 4]) for index in range(count)]


def test_hand_worked_scores(ask_text):
    targets = [target(label) for label in ("airport", "airport", "airport", "pond", "dense residential")]
    answers = ["Airport.", "pond", "It is an airport", "Pond", "dense_residential"]
    results = score(sc, ask_text(sc, "sc", targets, answers), STRICT)
    assert values(results["metrics"]) == {"accuracy": 3 / 5, "balanced_accuracy": (1 / 3 + 1 + 1) / 3}
    details = results["details"]
    assert details["classes"]["airport"] == {"images": 3, "right": 1}
    assert details["classes"]["medium residential"] == {"images": 0, "right": 0}
    assert details["confusion"]["columns"] == [*CLASSES, "no class"]
    assert details["confusion"]["counts"] == [[1, 0, 0, 1, 1], [0, 1, 0, 0, 0], [0] * 5, [0, 0, 0, 1, 0]]
    assert details["named_no_class"] == 1
    assert results["unparsable"] == 0  # it says something, though no class


def test_the_papers_rule_takes_the_longest_common_substring(ask_text):
    targets = [target(label) for label in ("airport", "pond", "pond")]
    rows = ask_text(sc, "sc", targets, ["It is an airport", "a residential pond", ""])
    results = score(sc, rows, PAPER)
    assert list(results["metrics"]) == ["balanced_accuracy", "accuracy"]  # as LHRS-Bot quotes
    # "residential" is longer than "pond": the rule's bias. An empty answer names nothing.
    assert values(results["metrics"])["accuracy"] == 1 / 3
    assert results["details"]["confusion"]["counts"][3] == [0, 1, 0, 0, 1]
    assert results["unparsable"] == 1
    assert values(score(sc, rows, STRICT)["metrics"])["accuracy"] == 0


@pytest.mark.parametrize("protocol", [STRICT, PAPER])
def test_oracle_is_always_right(ask_text, protocol):
    targets = scenes(20)
    results = score(sc, ask_text(sc, "sc", targets, [each["label"] for each in targets]), protocol)
    assert set(values(results["metrics"]).values()) == {1}


def test_shuffled_answers_score_like_the_baselines(ask_text):
    targets = scenes(400)
    shuffled = np.random.default_rng(0).permutation([each["label"] for each in targets]).tolist()
    results = score(sc, ask_text(sc, "sc", targets, shuffled), STRICT)
    for name in (sc.RANDOM, sc.FREQUENT):
        for margin in results["margins"][name].values():
            assert margin["low"] <= 0 <= margin["high"]


def test_classes_moved_by_one_are_caught(ask_text):
    targets = scenes(40)
    moved = [CLASSES[(CLASSES.index(each["label"]) + 1) % 4] for each in targets]
    results = score(sc, ask_text(sc, "sc", targets, moved), STRICT)
    assert set(values(results["metrics"]).values()) == {0}
    assert np.trace(np.array(results["details"]["confusion"]["counts"])) == 0


def test_baselines_say_what_they_were_fitted_on(text_questions, fake_predictor):
    labels = ["pond", "pond", "airport"]
    questions = text_questions(sc, "sc", [target(label) for label in labels])
    model = fake_predictor(str)
    alone = sc.yardsticks(questions, model)
    assert alone.answers[sc.FREQUENT] == [{"text": "pond"}] * 3
    assert "no constant answer scores more" in alone.definitions[sc.FREQUENT]
    fitted = sc.yardsticks(replace(questions, fit_split="train", fit_records=questions.records[2:]), model)
    assert fitted.answers[sc.FREQUENT] == [{"text": "airport"}] * 3
    assert "of split train" in fitted.definitions[sc.FREQUENT]
    assert {answer["text"] for answer in alone.answers[sc.RANDOM]} <= set(CLASSES)
    assert alone.answers[sc.RANDOM] == fitted.answers[sc.RANDOM]


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (None, "targets"),
        ({"label": "pond"}, "'classes'"),
        ({"label": "pond", "classes": ["pond"]}, "'classes'"),
        ({"label": "pond", "classes": ["pond", "."]}, "'classes'"),
        ({"label": "pond", "classes": ["pond", "golf_course", "Golf course"]}, "mean the same class"),
        ({"label": "lake", "classes": CLASSES}, "'lake' is not one of"),
        ({"classes": CLASSES}, "None is not one of"),
    ],
)
def test_targets_that_cannot_be_scored_are_refused(make_record, targets, message):
    record = Record.from_json(make_record(7, [1, 2, 3, 4]) | {"targets": targets})
    with pytest.raises(ValueError, match=f"record q7.*{message}"):
        sc.check(record)


def test_real_scenes_have_a_training_split(rs_sample, fake_predictor):
    from eval import benchmarks
    from rsunivlm.tasks import Task

    questions = benchmarks.load("rsicd", Task.SC, sc, rs_sample("rsicd"), None)
    assert len(questions.records) > 600
    assert questions.fit_split == "train"
    assert any("AID" in note for note in questions.notes)
    constant = sc.yardsticks(questions, fake_predictor(str)).answers[sc.FREQUENT]
    assert len({answer["text"] for answer in constant}) == 1
