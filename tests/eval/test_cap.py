"""Captioning: scores of whole sets against pycocoevalcap, METEOR with and without Java, yardsticks."""

from dataclasses import replace

import numpy as np
import pytest

from eval import cap, captioning
from eval.metrics import meteor, tokens
from eval.predictions import read_predictions, write_predictions
from eval.scoring import score
from eval.tasks import protocol_of
from rsunivlm.data.records import Record

pytest.importorskip("pycocoevalcap.bleu.bleu", reason="caption scorers are in the eval extra")
STRICT = protocol_of(cap, "strict", {})
WORDS = [
    "many",
    "green",
    "trees",
    "are",
    "around",
    "a",
    "large",
    "pond",
    "near",
    "two",
    "houses",
    "and",
    "road",
]


def values(cells):
    return {name: cell["value"] for name, cell in cells.items()}


def caption_sets(count, seed=0):
    rng = np.random.default_rng(seed)

    def sentence():
        return " ".join(rng.choice(WORDS, rng.integers(3, 10))).capitalize() + " ."

    return [{"references": [sentence() for _ in range(rng.integers(1, 5))]} for _ in range(count)]


def spoilt(targets, seed=1):
    """The first reference of each with a third of its words replaced; some answers are empty."""
    rng = np.random.default_rng(seed)
    answers = []
    for each in targets:
        words = [rng.choice(WORDS) if rng.random() < 0.3 else word for word in each["references"][0].split()]
        answers.append(" ".join(words) if rng.random() < 0.9 else "")
    return answers


def expected(scorers, rows, answers):
    """What pycocoevalcap makes of the same strings."""
    found = {}
    truth = {n: tokens.words(row.truth["references"]) for n, row in enumerate(rows)}
    given = {n: tokens.words([answer]) for n, answer in enumerate(answers)}
    for name, scorer in scorers.items():
        overall, _ = scorer.compute_score(truth, given)
        found |= dict(zip(captioning.BLEU, overall, strict=True)) if name == "bleu" else {name: overall}
    return found


def scorers():
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    return {"bleu": Bleu(4), "cider": Cider(), "rouge_l": Rouge()}


def test_scores_are_those_of_pycocoevalcap(ask_text, no_java):
    targets = caption_sets(200)
    answers = spoilt(targets)
    rows = ask_text(cap, "cap", targets, answers)
    results = score(cap, rows, STRICT, resamples=50)
    metrics = values(results["metrics"])
    assert metrics.pop("meteor") is None
    assert metrics == pytest.approx(expected(scorers(), rows, answers), abs=1e-9)
    assert results["unparsable"] == answers.count("")
    constant = [row.yardsticks[captioning.CONSTANT]["text"] for row in rows]
    baseline = values(results["yardsticks"][captioning.CONSTANT])
    baseline.pop("meteor")
    assert baseline == pytest.approx(expected(scorers(), rows, constant), abs=1e-9)
    for name, cell in results["metrics"].items():
        assert name == "meteor" or cell["low"] <= cell["value"] <= cell["high"]


def test_without_java_meteor_is_absent_and_the_reason_is_given(ask_text, no_java):
    targets = caption_sets(4)
    results = score(cap, ask_text(cap, "cap", targets, spoilt(targets)), STRICT)
    assert results["metrics"]["meteor"] == {"value": None, "low": None, "high": None}
    assert "absent: no Java" in results["details"]["meteor"]


def test_one_start_of_meteors_jar_serves_answers_and_yardsticks(ask_text, monkeypatch):
    def jar(arguments, lines, folder):
        """Every caption of n words matches its first n - 1 words in as many chunks."""
        starts.append(len(lines))
        counts = [max(len(line.split("|||")[-1].split()) - 1, 0) for line in lines]
        return [f"{n + 1} {n + 1} 0 0 {n} {n} {'0 ' * 14} {n} {n} {n}" for n in counts]

    starts: list[int] = []
    monkeypatch.setattr(meteor, "java", lambda: "java")
    monkeypatch.setattr(meteor, "run_java", jar)
    targets = [{"references": ["a big pond .", "many trees ."]}, {"references": ["two wide roads meet ."]}]
    rows = ask_text(cap, "cap", targets, ["a pond .", "one two three four"])
    results = score(cap, rows, STRICT)
    assert starts == [6]  # two questions with an answer, a constant caption and a left-out reference each
    matched, given, penalty = 1 + 3, 2 + 4, 0.6
    assert values(results["metrics"])["meteor"] == pytest.approx(matched / given * (1 - penalty))
    assert 0 < results["yardsticks"][captioning.CONSTANT]["meteor"]["value"] < 1


def test_oracle_reaches_the_top(ask_text, no_java):
    targets = [{"references": each["references"][:1]} for each in caption_sets(20)]
    rows = ask_text(cap, "cap", targets, [each["references"][0] for each in targets])
    metrics = values(score(cap, rows, STRICT)["metrics"])
    assert metrics.pop("cider") > 8  # 10 for captions of four words or more
    metrics.pop("meteor")
    assert list(metrics.values()) == pytest.approx([1] * len(metrics))


def test_shuffled_captions_gain_nothing_on_the_constant_one(ask_text, no_java):
    targets = caption_sets(60)
    firsts = [each["references"][0] for each in targets]
    moved = firsts[1:] + firsts[:1]  # also the planted mistake: answers off by one question
    results = score(cap, ask_text(cap, "cap", targets, moved), STRICT)
    assert results["margins"][captioning.CONSTANT]["cider"]["low"] <= 0
    true = score(cap, ask_text(cap, "cap", targets, firsts), STRICT)
    for name in ("cider", "bleu_4", "rouge_l"):
        assert results["metrics"][name]["high"] < true["metrics"][name]["low"]


def test_a_left_out_reference_does_not_meet_itself(ask_text, no_java):
    targets = [
        {"references": ["a pond .", "a pond .", "two ponds near trees ."]},
        {"references": ["a road ."]},
    ]
    rows = ask_text(cap, "cap", targets, ["", ""])
    left_out = [row.yardsticks[captioning.LEFT_OUT] for row in rows]
    assert left_out[0] == {"text": "a pond .", "references": ["two ponds near trees ."]}
    assert left_out[1] == {"text": "a road .", "references": ["a road ."]}  # the only one is kept, as stated
    results = score(cap, rows, STRICT)
    assert results["yardsticks"][captioning.LEFT_OUT]["rouge_l"]["value"] == pytest.approx((0 + 1) / 2)
    single = ask_text(cap, "cap", [{"references": ["a road ."]}] * 2, ["", ""])
    assert captioning.LEFT_OUT not in single[0].yardsticks


def test_baseline_says_what_it_was_fitted_on(text_questions, fake_predictor):
    questions = text_questions(cap, "cap", [{"references": ["many trees ."]}, {"references": ["a pond ."]}])
    model = fake_predictor(str)
    alone = cap.yardsticks(questions, model)
    assert [answer["text"] for answer in alone.answers[captioning.CONSTANT]] == ["a pond .", "many trees ."]
    assert "no training split" in alone.definitions[captioning.CONSTANT]
    fitted = cap.yardsticks(replace(questions, fit_split="train", fit_records=questions.records[1:]), model)
    assert fitted.answers[captioning.CONSTANT] == [{"text": "a pond ."}] * 2
    assert "'a pond .'" in fitted.definitions[captioning.CONSTANT]


def test_scores_are_recomputed_from_the_file_alone(ask_text, no_java, tmp_path):
    targets = caption_sets(6)
    rows = ask_text(cap, "cap", targets, spoilt(targets))
    write_predictions(tmp_path / "p.jsonl", rows)
    assert score(cap, read_predictions(tmp_path / "p.jsonl"), STRICT) == score(cap, rows, STRICT)


@pytest.mark.parametrize(
    "targets", [None, {}, {"references": []}, {"references": ["a", 3]}, {"references": ["."]}]
)
def test_targets_that_cannot_be_scored_are_refused(make_record, targets):
    record = Record.from_json(make_record(7, [1, 2, 3, 4]) | {"targets": targets})
    with pytest.raises(ValueError, match=r"record q7.*references"):
        cap.check(record)


def test_the_length_of_answers_and_references_is_told(ask_text, no_java):
    targets = [{"references": ["a big pond .", "many trees ."]}, {"references": ["a road ."]}]
    results = score(cap, ask_text(cap, "cap", targets, ["a pond .", ""]), STRICT)
    assert results["details"]["mean_words"] == {"answers": 1.0, "references": round(7 / 3, 2)}
