"""Rows of the paper beside a run: the right columns, our metrics under them, footnotes where they belong."""

import pytest

from eval import cc, cd, ss, vg
from eval.beside import _PLACES, Cell, beside
from eval.paper import TABLES
from eval.registry import BENCHMARKS
from rsunivlm.tasks import Task

METRICS = {
    Task.VG: set(vg._NAMES),
    Task.SS: set(ss._NAMES),
    Task.CD: set(cd._NAMES),
    Task.CC: set(cc.METRICS),
    Task.SC: {"accuracy", "balanced_accuracy"},
    Task.VQA: {"macro_accuracy", "micro_accuracy", "rural_urban", "presence", "comp"},
}


@pytest.mark.parametrize(("task", "benchmark"), list(_PLACES), ids=str)
def test_every_place_is_whole(task, benchmark):
    assert task in BENCHMARKS[benchmark].tasks
    found = beside(task, benchmark, "test")
    table = TABLES[_PLACES[task, benchmark].table]
    assert set(found.columns) <= set(table.columns)
    assert all(len(row) == 1 + len(found.columns) for row in found.rows)
    for _, metrics in found.ours:
        assert len(metrics) == len(found.columns)
        assert set(metrics) <= METRICS[task]
    used = {mark for row in found.rows for cell in row for mark in cell.marks}
    assert used == {letter for letter, _ in found.notes if letter}


def test_a_benchmark_the_paper_does_not_have():
    assert beside(Task.VG, "mini", "test") is None
    assert beside(Task.CD, "levir_mci", "test") is None


def test_grounding():
    found = beside(Task.VG, "vrsbench_ref", "test")
    assert found.columns == ("VRSBench-Ref @0.5", "VRSBench-Ref @0.7")
    assert found.ours == (("this run", ("acc@0.5", "acc@0.7")),)
    rows = {row[0].text: row[1:] for row in found.rows}
    assert [cell.text for cell in rows["RSUniVLM-1B"]] == ["69.31", "47.47"]
    assert [cell.text for cell in rows["H2RSVLM-7B"]] == ["-", "-"]
    marks = {cell.marks for cell in rows["GeoChat-7B"]}
    assert marks == {"a"}
    assert "introduction" in dict(found.notes)["a"]


def test_reordered_rows_stand_below_the_printed_ones():
    found = beside(Task.VQA, "rsvqa_lr", "test")
    names = [row[0].text for row in found.rows]
    place = names.index("GeoChat-7B")
    assert names[place + 1] == "GeoChat-7B, re-ordered"
    assert [cell.text for cell in found.rows[place][1:]] == ["91.09", "90.33", "94.00", "91.81"]
    assert found.rows[place + 1][1:] == tuple(map(Cell, ("94.00", "91.09", "90.33", "91.81")))
    # No column of the other dataset is in another order, so nothing is repeated there.
    assert len(beside(Task.VQA, "rsvqa_hr", "test").rows) == len(TABLES[2].rows)


def test_another_split_is_said():
    texts = [text for _, text in beside(Task.VQA, "rsvqa_hr", "test_phili").notes]
    assert any("test_phili" in text for text in texts)
    assert not any("test_phili" in text for _, text in beside(Task.VQA, "rsvqa_hr", "test").notes)
