"""Change captioning: conventions, parts and decisions by hand; the parts add up; oracle and mistakes."""

import pytest

from eval import captioning, cc
from eval.scoring import score
from eval.tasks import protocol_of
from rsunivlm.data.records import Record

pytest.importorskip("pycocoevalcap.bleu.bleu", reason="caption scorers are in the eval extra")
STRICT, PAPER = (protocol_of(cc, name, {}) for name in ("strict", "paper"))
SAME = sorted(f"{sentence} ." for sentence in cc.NO_CHANGE)
CHANGED = [
    ["two houses appear near the road .", "some houses are built ."],
    ["the trees are replaced by a villa .", "a villa appears , the trees disappear ."],
]


def pairs(copies=1):
    """Changed and unchanged pairs by turns."""
    return [
        target
        for _ in range(copies)
        for references in CHANGED
        for target in (
            {"references": references, "changed": True},
            {"references": SAME, "changed": False},
        )
    ]


def values(cells):
    return {name: cell["value"] for name, cell in cells.items()}


def test_decisions_by_hand(ask_text, no_java):
    answers = ["houses appear .", "The scene is the same as before", SAME[0], "a road appears ."]
    metrics = values(score(cc, ask_text(cc, "cc", pairs(), answers), STRICT)["metrics"])
    assert metrics["change_accuracy"] == 0.5  # the second changed pair is answered with "no change"
    assert metrics["no_change_accuracy"] == 0.5
    silent = values(score(cc, ask_text(cc, "cc", pairs(), [""] * 4), STRICT)["metrics"])
    assert (silent["change_accuracy"], silent["no_change_accuracy"]) == (0, 0)


def test_parts_are_scored_apart(ask_text, no_java):
    answers = [CHANGED[0][0], "villas appear", CHANGED[1][0], "villas appear"]
    results = score(cc, ask_text(cc, "cc", pairs(), answers), STRICT)
    metrics = values(results["metrics"])
    assert metrics["changed_bleu_4"] == pytest.approx(1)
    assert metrics["unchanged_rouge_l"] == 0
    # CIDEr and ROUGE-L are means, so the whole lies half way between parts of equal size.
    for name in ("cider", "rouge_l"):
        assert metrics[name] == pytest.approx((metrics[f"changed_{name}"] + metrics[f"unchanged_{name}"]) / 2)
    assert results["details"]["pairs"] == {"changed": 2, "unchanged": 2}


def test_a_part_without_pairs_is_undefined(ask_text, no_java):
    only = [target for target in pairs() if target["changed"]]
    metrics = values(score(cc, ask_text(cc, "cc", only, ["a road appears ."] * 2), STRICT)["metrics"])
    assert metrics["unchanged_cider"] is metrics["no_change_accuracy"] is None
    assert metrics["changed_cider"] == metrics["cider"]


def test_overall_scores_are_those_of_pycocoevalcap_on_token_numbers(ask_text, no_java):
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    answers = ["two villas appear, near trees?", SAME[1], "the trees are replaced .", "a road appears ."]
    rows = ask_text(cc, "cc", pairs(), answers)
    numbers: dict[str, int] = {}

    def numbered(text):
        for sign in "?.":
            text = text.replace(sign, "")
        words = text.lower().replace(",", " ,").split()
        return " ".join(str(numbers.setdefault(word, len(numbers))) for word in words)

    truth = {n: [numbered(text) for text in row.truth["references"]] for n, row in enumerate(rows)}
    given = {n: [numbered(answer)] for n, answer in enumerate(answers)}
    bleu = Bleu(4).compute_score(truth, given, verbose=0)[0]
    metrics = values(score(cc, rows, STRICT)["metrics"])
    assert [metrics[name] for name in captioning.BLEU] == pytest.approx(bleu)
    assert metrics["cider"] == pytest.approx(Cider().compute_score(truth, given)[0])
    assert metrics["rouge_l"] == pytest.approx(Rouge().compute_score(truth, given)[0])


def test_conventions_change_scores_as_the_papers_do(ask_text, no_java):
    answers = ["two houses appear .", SAME[1], "a villa appears .", SAME[2]]
    rows = ask_text(cc, "cc", pairs(), answers)
    found = {
        norm: values(score(cc, rows, STRICT | {"cc_norm": norm})["metrics"])
        for norm in ("change_agent", "detached", "raw")
    }
    rouge = [found[norm]["rouge_l"] for norm in found]
    assert rouge == sorted(rouge)  # the stop, then the empty first word are in common with all references
    assert rouge[0] < rouge[1] < rouge[2]
    for name in ("bleu_4", "cider"):  # these split at any white space
        assert found["raw"][name] == found["detached"][name] != found["change_agent"][name]
    assert PAPER["cc_norm"] == "raw"


def test_oracle_and_planted_mistake(ask_text, no_java):
    targets = pairs(5)
    right = [target["references"][0] for target in targets]
    top = values(score(cc, ask_text(cc, "cc", targets, right), STRICT)["metrics"])
    for name in ("bleu_4", "rouge_l", "change_accuracy", "no_change_accuracy"):
        assert top[name] == pytest.approx(1)
    moved = right[1:] + right[:1]  # every changed pair gets the answer of an unchanged one
    wrong = values(score(cc, ask_text(cc, "cc", targets, moved), STRICT)["metrics"])
    assert wrong["change_accuracy"] == wrong["no_change_accuracy"] == 0
    assert wrong["cider"] < top["cider"] / 4


def test_an_unchanged_pair_leaves_no_reference_out(ask_text, no_java):
    rows = ask_text(cc, "cc", pairs(), [""] * 4)
    left_out = [row.yardsticks[captioning.LEFT_OUT] for row in rows]
    assert left_out[0] == {"text": CHANGED[0][0], "references": CHANGED[0][1:]}
    assert left_out[1] == {"text": SAME[0], "references": SAME}
    metrics = values(score(cc, rows, STRICT)["yardsticks"][captioning.LEFT_OUT])
    assert metrics["unchanged_rouge_l"] == 1
    assert 0 < metrics["changed_rouge_l"] < 1


def test_targets_must_say_whether_anything_has_changed(make_record):
    record = make_record(7, [1, 2, 3, 4]) | {"targets": {"references": ["a road"], "changed": 1}}
    with pytest.raises(ValueError, match=r"record q7.*'changed'"):
        cc.check(Record.from_json(record))


def test_real_pairs_are_read(rs_sample, fake_predictor):
    from eval import benchmarks
    from rsunivlm.tasks import Task

    questions = benchmarks.load("levir_mci", Task.CC, cc, rs_sample("levir_mci"), None)
    assert len(questions.records) == 109
    unchanged = [record.targets for record in questions.records if not record.targets["changed"]]
    assert all(cc.says_no_change(text) for target in unchanged for text in target["references"])
    changed = [record.targets for record in questions.records if record.targets["changed"]]
    assert not any(cc.says_no_change(text) for target in changed for text in target["references"])
