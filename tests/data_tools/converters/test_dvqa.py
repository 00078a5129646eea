"""DVQA: the splits, wherever the question files lie."""

from __future__ import annotations

from pathlib import Path

from fixtures.dvqa import make_dvqa

from data_tools.converter import Settings
from data_tools.converters.dvqa import CONVERTERS
from data_tools.report import ConversionReport

(DVQA,) = CONVERTERS


def test_question_files_may_lie_in_a_folder_of_their_own(tmp_path: Path) -> None:
    make_dvqa(tmp_path)
    before = list(DVQA.read("train", Settings(tmp_path), ConversionReport("dvqa")))
    (tmp_path / "qa").mkdir()
    for path in tmp_path.glob("*_qa.json"):
        path.rename(tmp_path / "qa" / path.name)
    assert DVQA.find_splits(tmp_path) == ("train", "val_easy", "val_hard")
    assert list(DVQA.read("train", Settings(tmp_path), ConversionReport("dvqa"))) == before
    assert len(before) == 3
