"""Whole folders: what only many lines or files together show, and nothing depends on chunks or workers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade import MakeFolder, line, save_scene
from PIL import Image

from data_tools.doctor import examination
from data_tools.doctor.examination import examine
from data_tools.doctor.findings import Findings, Kind, Severity


def question(number: int | str, image: str | list[str] = "a.png") -> dict[str, Any]:
    return line(number, image, "vqa", "[VQA] Is it?", "yes", {"answer": "yes", "type": "presence"})


def pair(number: int, *images: str) -> dict[str, Any]:
    return line(number, list(images), "cc", "[CCD] What changed?", "a road .", {"references": ["a road ."]})


def found(*outs: Path, **options: Any) -> set[tuple[Kind, str]]:
    return {(finding.kind, finding.place) for finding in examine(outs, **options).findings.kept}


def test_ids_are_unique_per_file_across_chunks(
    tmp_path: Path, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examination, "CHUNK_LINES", 2)
    save_scene(tmp_path / "images/a.png", 0)
    numbers = [1, 2, "", 3, 1, 4, "3"]
    lines = [question(number) if number else "" for number in numbers]
    out = make_folder({"vqa_val.jsonl": lines, "training/vqa_val.jsonl": [question(1)]})
    summary = json.loads((out / "conversion.json").read_text())
    summary["records"]["vqa_val.jsonl"] = 6  # the blank line is no record
    (out / "conversion.json").write_text(json.dumps(summary))
    exam = examine([out])
    assert [(entry.kind, entry.place, entry.detail) for entry in exam.findings.kept] == [
        (Kind.DUPLICATE_ID, "vqa_val.jsonl:5", "has the id of line 1"),
        (Kind.DUPLICATE_ID, "vqa_val.jsonl:7", "has the id of line 4"),
    ]
    assert exam.records == {"ours": 7}
    assert exam.images == {"ours": 1}


def test_each_fault_of_a_file_is_named_once(tmp_path: Path, make_folder: MakeFolder) -> None:
    root = tmp_path / "images"
    for number, name in enumerate(("a.png", "b.png", "small.png", "cut.jpg")):
        save_scene(root / name, number, (32, 24) if name == "small.png" else (64, 48))
    (root / "cut.jpg").write_bytes((root / "cut.jpg").read_bytes()[:-400])
    (root / "empty.png").touch()
    (root / "text.png").write_text("no picture")
    (root / "link.png").symlink_to(tmp_path / "elsewhere.png")
    save_scene(tmp_path / "elsewhere.png", 9)
    images = ("a.png", "none.png", "empty.png", "text.png", "link.png", "cut.jpg")
    out = make_folder(
        {
            "vqa_test.jsonl": [question(f"{image}{turn}", image) for turn in (1, 2) for image in images],
            "training/cc_train.jsonl": [pair(1, "a.png", "b.png"), pair(2, "a.png", "small.png")],
            "sc_test.jsonl": [
                question("0", "a.png") | {"image": "../a.png"},
                question("1", "a.png") | {"targets": [{}, {}]},
                '{"id": "2", "image": "a.png", "conv',
                "[" * 5000,
                line("3", "a.png", "sc", "[CLS] pond, park", "pond"),
                line("4", "a.png", "sc", "[CLS] pond, park", "pond", {"classes": ["pond"]}),
            ],
        }
    )
    expected = {
        (Kind.IMAGE_MISSING, "none.png"),
        (Kind.IMAGE_EMPTY, "empty.png"),
        (Kind.IMAGE_UNREADABLE, "text.png"),
        (Kind.OUTSIDE, "link.png"),
        (Kind.PAIR_SIZES, "small.png"),
        (Kind.NO_TRUTH, "sc_test.jsonl:5"),
        (Kind.NO_TRUTH, "sc_test.jsonl:6"),
        (Kind.SHARED_IMAGE, "a.png"),
    } | {(Kind.BAD_RECORD, f"sc_test.jsonl:{number}") for number in (1, 2, 3, 4)}
    exam = examine([out], deep=True)
    places = [(entry.kind, entry.place) for entry in exam.findings.kept]
    assert set(places) == expected | {(Kind.IMAGE_DAMAGED, "cut.jpg")}
    assert len(places) == len(set(places))
    assert not exam.findings.sound
    again = examine([out], deep=True, workers=2)
    assert again.findings.kept == exam.findings.kept


def test_counts_of_records_and_samples(tmp_path: Path, make_folder: MakeFolder) -> None:
    save_scene(tmp_path / "images/a.png", 0)
    files = {name: [question(1), question(2)] for name in ("vqa_test.jsonl", "vqa_val.jsonl", "sc_val.jsonl")}
    out = make_folder(files, "rsvqa_lr")
    (out / "vqa_test.jsonl").write_text(json.dumps(question(1)) + "\n")
    with (out / "vqa_val.jsonl").open("a") as file:
        file.write(json.dumps(question(3)) + "\n")
    (out / "sc_val.jsonl").unlink()
    (out / "training").mkdir()
    (out / "training/vqa_train.jsonl").touch()
    summary = json.loads((out / "conversion.json").read_text())
    summary["samples"] = {"test": {"vqa": 2}, "val": {"vqa": 10_005}}
    (out / "conversion.json").write_text(json.dumps(summary))
    exam = examine([out])
    assert {(entry.kind, entry.place, entry.severity) for entry in exam.findings.kept} == {
        (Kind.RECORDS_MISSING, "vqa_test.jsonl", Severity.ERROR),
        (Kind.RECORDS_ADDED, "vqa_val.jsonl", Severity.ERROR),
        (Kind.FILE_MISSING, "sc_val.jsonl", Severity.ERROR),
        (Kind.FILE_UNKNOWN, "training/vqa_train.jsonl", Severity.WARNING),
        (Kind.COUNT, "test", Severity.WARNING),  # 10,004 are published; all 10,005 of val are there
    }
    for change in ({"dataset": "mine"}, {"options": summary["options"] | {"limit": 2}}):
        (out / "conversion.json").write_text(json.dumps(summary | change))
        assert Kind.COUNT not in {kind for kind, _ in found(out)}


@pytest.mark.parametrize("evaluated", [True, False])
def test_a_value_that_nobody_asks_for(tmp_path: Path, make_folder: MakeFolder, evaluated: bool) -> None:
    root = tmp_path / "images"
    for number in range(3):
        save_scene(root / f"{number}.png", number, (8, 8))
        values = np.zeros((8, 8), np.uint8)
        values[:, 4:] = 255
        values[0, 0] = 77 if number == 1 else 0  # not the centre of a cell, so the text does not know
        Image.fromarray(values).save(root / f"m{number}.png")
    text = "\n".join(["others*2, road*2"] * 4)
    lines = [
        line(
            n,
            f"{n}.png",
            "ss",
            "[SEG] road",
            text,
            {"mask": f"m{n}.png", "labels": ["others", "road"], "value": 255},
        )
        for n in range(3)
    ]
    out = make_folder({"ss_test.jsonl" if evaluated else "training/ss_train.jsonl": lines})
    (finding,) = examine([out], deep=True).findings.kept
    assert (finding.kind, finding.place) == (Kind.MASK_VALUE, "m1.png")
    assert finding.detail.startswith("77 ")
    assert finding.severity is (Severity.ERROR if evaluated else Severity.WARNING)
    assert found(out) == set()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, "has no conversion.json"),
        ({"images": "/nowhere/at/all"}, "image root /nowhere/at/all is not there"),
        ({"options": {}}, "was not written by this version"),
        ({"records": {"../vqa_test.jsonl": 1}}, "must not use '..'"),
        ({"records": {"vqa.jsonl": 1}}, "TASK_SPLIT"),
    ],
)
def test_folders_that_convert_did_not_write(
    make_folder: MakeFolder, change: dict[str, Any] | None, message: str
) -> None:
    out = make_folder({})
    path = out / "conversion.json"
    summary = json.loads(path.read_text())
    if change is None:
        path.unlink()
    else:
        path.write_text(json.dumps(summary | change))
    with pytest.raises(ValueError, match=message):
        examine([out])


def test_a_dataset_may_be_named_once(make_folder: MakeFolder) -> None:
    out = make_folder({})
    with pytest.raises(ValueError, match="two of the folders hold ours"):
        examine([out, out])


def test_a_flood_of_findings_is_counted_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_tools.doctor.findings.KEPT", 3)
    findings = Findings()
    for number in range(10):
        findings.add("ours", Kind.BAD_RECORD, f"f:{number}", "x")
        findings.add("ours", Kind.IMAGE_MISSING, "a.png", "x")
    assert len(findings.kept) == 4
    assert findings.total(Severity.ERROR) == 11
