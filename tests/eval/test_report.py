"""The terminal tables: readable at 100 columns whatever the task, with nothing cut off."""

import re

import pytest
from rich.console import Console

from eval.report import best_baseline, facts, format_cell, is_baseline, print_results, words


def cell(value, low=None, high=None):
    return {"value": value, "low": low, "high": high}


def results_of(task, benchmark, metrics, yardsticks, split="test"):
    """Results in which everything is as wide as it can be."""
    full = cell(-0.999, -1.0, -0.998)
    return {
        "task": task,
        "benchmark": benchmark,
        "split": split,
        "n": 10,
        "images": 7,
        "unparsable": 1,
        "metrics": dict.fromkeys(metrics, full),
        "yardsticks": {name: dict.fromkeys(metrics, cell(1.0, 1.0, 1.0)) for name in yardsticks},
        "margins": {name: dict.fromkeys(metrics, full) for name in yardsticks},
        "details": {},
        "protocol": {"name": "strict", "iou": "pixel"},
        "left_out_by_protocol": 2,
        "interval": {"method": "percentile bootstrap", "level": 0.95, "resamples": 2000, "seed": 0},
        "questions_sha256": "0" * 64,
        "predictions_sha256": "1" * 64,
        "definitions": {name: f"definition of {name}" for name in yardsticks},
        "limit": {"asked": 12, "of": 99, "seed": 3},
        "notes": ["a leak"],
        "model": {"id": "nano", "weights": "abc"},
        "decoder": {"strategy": "greedy"},
        "image_root": None,
    }


WIDEST = {
    "cc": (
        "levir_mci",
        ["cider", "bleu_4", "unchanged_rouge_l", "no_change_accuracy"],
        ["constant_caption", "left_out_reference"],
    ),
    "ss": (
        "udd5",
        ["mIoU", "mPrecision", "mIoU_image"],
        ["codec_ceiling", "whole_image_ceiling", "all_background", "all_foreground", "constant_prior"],
    ),
    "vg": (
        "dior_rsvg",
        ["acc@0.5", "acc@0.5_parsed_only"],
        ["codec_ceiling", "most_frequent_box", "centre_box"],
    ),
    "vqa": ("rsvqa_lr", ["macro_accuracy", "rural_urban"], ["most_frequent_answer"]),
}


@pytest.mark.parametrize("task", list(WIDEST))
def test_fits_100_columns_and_cuts_nothing(task, tmp_path):
    benchmark, metrics, yardsticks = WIDEST[task]
    console = Console(width=100, record=True, file=(tmp_path / "log").open("w"))
    print_results(console, results_of(task, benchmark, metrics, yardsticks), tmp_path)
    text = console.export_text()
    assert "…" not in text
    for metric in metrics:
        rows = [line for line in text.splitlines() if re.match(rf" +{words(metric)} +-99.9 \[", line)]
        assert all(len(row) <= 100 for row in rows)
        cells = " ".join(rows)
        assert cells.count("-99.9 [-100.0, -99.8]") == 2  # score, and gain over the best baseline
        assert cells.count(" 100.0") == len(yardsticks)
    assert "definition of" in text
    assert "note 1: a leak" in text
    assert "questions: 10 about 7 images, drawn from 99 with seed 3; the protocol leaves out 2 of 12" in text


def test_paper_rows_are_printed_with_their_footnotes(tmp_path):
    console = Console(width=100, record=True, file=(tmp_path / "log").open("w"))
    print_results(console, results_of("vg", "dior_rsvg", ["acc@0.5", "acc@0.7"], ["centre_box"]), tmp_path)
    text = console.export_text()
    assert "Table 4 of the paper" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["RSUniVLM-1B", "72.47", "56.17"] in rows
    assert ["GeoChat-7B", "27.85", "(a)", "9.50"] in rows
    assert "(a) other papers print 31.4 and 19.7 for it" in text


def test_names_and_cells():
    assert words("changed_bleu_4") == "changed BLEU-4"
    assert words("mean_iou") == "mean IoU"
    assert words("mIoU_image") == "mIoU image"
    assert format_cell(cell(0.5, 0.41, 0.587)) == "50.0 [41.0, 58.7]"
    assert format_cell(cell(0.5)) == "50.0"
    assert format_cell(cell(None)) == "-"


def test_bounds_are_nothing_to_beat():
    assert [name for name in ("codec_ceiling", "left_out_reference", "centre_box") if is_baseline(name)] == [
        "centre_box"
    ]
    found = {"codec_ceiling": 0.9, "a": 0.2, "b": 0.3, "c": None}
    results = {"yardsticks": {name: {"iou": cell(value)} for name, value in found.items()}}
    assert best_baseline(results, "iou") == "b"
    assert best_baseline({"yardsticks": {"c": {"iou": cell(None)}}}, "iou") is None


def test_facts_of_a_file_without_its_run():
    results = results_of("vg", "mini", ["acc@0.5"], []) | {"limit": {"asked": 10, "of": None, "seed": 0}}
    assert "drawn" not in facts(results)["questions"]
