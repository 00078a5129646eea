"""Other ways to ask for masks: another decode rule, the change in words first."""

from dataclasses import replace

import numpy as np
import pytest

from eval import cd
from eval.mask_baselines import CEILING
from eval.metrics import masks
from eval.procedures import Asking, Redecoded, WordsFirst, says_no_change
from eval.scoring import score
from eval.tasks import protocol_of
from eval.tiling import TiledAnswerer
from rsunivlm.inference.tiling import Tiling
from rsunivlm.tasks import Task

STRICT = protocol_of(cd, "strict", {})


def test_another_decode_rule_moves_answers_and_ceiling_together(ask, mask_oracle):
    plain = score(cd, ask(mask_oracle(), cd, "cd"), STRICT)
    smooth = Redecoded(mask_oracle(), "bilinear")
    results = score(cd, ask(smooth, cd, "cd"), STRICT)
    assert results["metrics"] == results["yardsticks"][CEILING] != plain["metrics"]
    assert smooth.describe() == {"id": "fake", "decode_rule": "bilinear"}
    itself = score(cd, ask(Redecoded(mask_oracle(), "nearest"), cd, "cd"), STRICT)
    assert itself["metrics"] == plain["metrics"]


def test_no_change_in_words_gives_an_empty_mask_without_asking(ask, mask_oracle):
    inner = mask_oracle(lambda ids: np.ones_like(ids))  # sees change everywhere, when asked for a mask
    rows = ask(WordsFirst(inner), cd, "cd")
    unchanged = [row for row in rows if not masks.area(row.truth["mask"])]
    assert [row.id for row in unchanged] == ["cd-4-building", "cd-7-building"]
    for row in rows:
        assert masks.area(row.parsed["mask"]) == (0 if row in unchanged else 60 * 90)
        assert cd.readable(row.parsed)
        assert row.route["granularity"] == "pixel"
    assert unchanged[0].answer == " The scene is the same as before ."
    assert rows[0].answer.startswith("houses appear .\nbuilding*8")
    assert sum(request.prompt.startswith("[CCD]") for request in inner.requests) == 10
    assert len(inner.requests) == 18
    assert "cot" in rows[0].model


def test_only_the_known_sentences_say_that_nothing_changed():
    assert says_no_change(" There is no difference .")
    assert says_no_change("no change has occurred")
    assert not says_no_change("there is no difference but a house")
    assert not says_no_change("")


def test_what_is_asked_for_is_applied_from_the_inside_out(mask_oracle):
    inner = mask_oracle()
    asking = Asking(Tiling(24, 8), "bilinear", cot=True)
    whole = asking.applied(inner, Task.CD)
    assert isinstance(whole, TiledAnswerer)
    assert set(whole.describe()) == {"id", "decode_rule", "cot", "tiling"}
    assert whole.mask_codec == replace(inner.mask_codec, decode_rule="bilinear")
    assert set(asking.applied(inner, Task.SS).describe()) == {"id", "decode_rule", "tiling"}
    assert asking.applied(inner, Task.VG) is inner
    assert Asking().applied(inner, Task.SS) is inner


@pytest.mark.parametrize(
    ("asking", "task", "message"),
    [
        (Asking(Tiling(8)), Task.VG, "--tile is for masks"),
        (Asking(decode="nearest"), Task.CC, "--decode is for masks"),
        (Asking(cot=True), Task.SS, "--cot is for change detection"),
    ],
)
def test_other_tasks_are_refused(asking, task, message):
    Asking().check(task)
    with pytest.raises(ValueError, match=f"{message}.*not for task {task}"):
        asking.check(task)
