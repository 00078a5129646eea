"""Region description: GeoChat's metrics first, and the box asked about in the picture."""

import pytest

from eval import reg
from eval.scoring import score, with_scores
from eval.tasks import protocol_of

pytest.importorskip("pycocoevalcap.bleu.bleu", reason="caption scorers are in the eval extra")
STRICT = protocol_of(reg, "strict", {})


def target(*references):
    return {"references": list(references), "box_px": [1, 2, 5, 6], "image_size": [8, 8]}


def test_hand_worked_scores(ask_text, no_java):
    targets = [target("the red car near a road"), target("a pond"), target("two ships")]
    rows = ask_text(reg, "reg", targets, ["The red road.", "", "ships two"])
    results = score(reg, rows, STRICT)
    assert list(results["metrics"])[:3] == ["rouge_1", "rouge_l", "meteor"]
    # 3 of 3 and 3 of 6 words: F1 = 2/3; all words but in another order: 1.
    assert results["metrics"]["rouge_1"]["value"] == pytest.approx((2 / 3 + 0 + 1) / 3)
    beta = 1.2**2  # longest common subsequences: 3 of 3 and 6 words, 1 of 2 and 2
    first = (1 + beta) * 1 * 0.5 / (0.5 + beta * 1)
    assert results["metrics"]["rouge_l"]["value"] == pytest.approx((first + 0 + 0.5) / 3)
    assert results["unparsable"] == 1


def test_oracle_and_planted_mistake(ask_text, no_java):
    names = [f"the {colour} {thing} on the left" for colour in ("red", "blue") for thing in ("car", "ship")]
    targets = [target(name) for name in names]
    right = score(reg, ask_text(reg, "reg", targets, names), STRICT)["metrics"]
    assert [right["rouge_1"]["value"], right["bleu_4"]["value"]] == pytest.approx([1, 1])
    moved = score(reg, ask_text(reg, "reg", targets, names[1:] + names[:1]), STRICT)["metrics"]
    assert moved["rouge_1"]["value"] < 0.9
    assert moved["cider"]["value"] < right["cider"]["value"] / 2


def test_the_box_asked_about_is_framed(ask_text, no_java, tmp_path):
    rows = ask_text(reg, "reg", [target("a pond"), target("a road")], ["a pond", "a pond"])
    assert rows[0].truth == {"references": ["a pond"], "box_px": [1, 2, 5, 6]}
    tiles = reg.tiles(with_scores(reg, rows, STRICT), tmp_path)
    assert [list(tile.truth_px) for tile in tiles] == [[(1, 2, 5, 6)]] * 2


def test_real_expressions_are_read(rs_sample, fake_predictor):
    from eval import benchmarks, captioning
    from rsunivlm.tasks import Task

    questions = benchmarks.load("dior_rsvg", Task.REG, reg, rs_sample("vhr10_rsvg"), None)
    assert len(questions.records) == 187
    constant = reg.yardsticks(questions, fake_predictor(str))
    assert set(constant.answers) == {captioning.CONSTANT}  # one expression per object
