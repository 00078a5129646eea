"""The command: exit codes, the three reports, nothing half written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from handmade import MakeFolder, line, save_scene

from data_tools.__main__ import main

NASTY = "<script>alert('&')</script>"


def record(number: int, answer: str) -> dict[str, Any]:
    return line(number, "a.png", "vqa", "[VQA] Is it?", answer, {"answer": "yes", "type": "presence"})


def test_a_sound_folder_and_a_broken_one(
    tmp_path: Path, make_folder: MakeFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    save_scene(tmp_path / "images/a.png", 0)
    sound = make_folder({"vqa_test.jsonl": [record(1, "yes")]}, "sound")
    broken = make_folder({"vqa_test.jsonl": [record(1, "yes"), record(2, NASTY)]}, "broken")
    page, report = tmp_path / "new/report.html", tmp_path / "report.json"
    assert main(["doctor", str(sound)]) == 0
    assert "sound: 0 errors, 0 warnings, 0 notes in 1 records and 1 images" in capsys.readouterr().out
    arguments = ["--deep", "--workers", "2", "--html", str(page), "--json", str(report)]
    assert main(["doctor", str(sound), str(broken), *arguments]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "error: broken: answer differs from the truth (1) vqa_test.jsonl:2: says" in printed
    assert "NOT SOUND: 1 errors" in printed

    content = json.loads(report.read_text())
    assert [folder["dataset"] for folder in content["folders"]] == ["sound", "broken"]
    assert not content["sound"]
    (finding,) = content["findings"]
    assert finding["severity"] == "error"
    assert finding["place"] == "vqa_test.jsonl:2"
    assert NASTY in finding["detail"]
    assert finding["mend"]

    html = page.read_text()
    assert NASTY not in html
    assert "&lt;script&gt;alert" in html
    assert "http:" not in html
    assert "https:" not in html
    assert [path.name for path in page.parent.iterdir()] == ["report.html"]


@pytest.mark.parametrize("options", [["nowhere"], ["OUT", "OUT"], ["OUT", "--workers", "0"]])
def test_bad_usage(make_folder: MakeFolder, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    out = str(make_folder({}))
    assert main(["doctor", *(out if option == "OUT" else option for option in options)]) == 2
    assert capsys.readouterr().err.startswith("error: ")
