"""ShareGPT4V: what is missing, and why."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fixtures.sharegpt4v import FILE, make_sharegpt4v

from data_tools.converter import Settings
from data_tools.converters.sharegpt4v import CONVERTERS
from data_tools.report import ConversionReport

(SHAREGPT4V,) = CONVERTERS


def test_an_absent_image_set_is_left_out_and_a_missing_file_is_bad(tmp_path: Path) -> None:
    make_sharegpt4v(tmp_path)
    (tmp_path / "sharegpt4v" / FILE).rename(tmp_path / FILE)  # the other place it may lie in
    shutil.rmtree(tmp_path / "sam")
    report = ConversionReport("sharegpt4v")
    samples = list(SHAREGPT4V.read("train", Settings(tmp_path), report))
    assert [sample.id for sample in samples] == ["train-0", "train-2", "train-2-1"]
    assert report.left_out == {
        "images of 'wikiart' are not downloaded": 1,
        "images of 'sam' are not downloaded": 1,
    }
    assert len(report.bad) == 3


def test_a_file_cut_in_half_stops(tmp_path: Path) -> None:
    make_sharegpt4v(tmp_path)
    path = tmp_path / "sharegpt4v" / FILE
    path.write_text(path.read_text()[:-40])
    with pytest.raises(ValueError, match=rf"(?s){FILE} is not valid JSON.*download it again"):
        list(SHAREGPT4V.read("train", Settings(tmp_path), ConversionReport("x")))
    path.unlink()
    with pytest.raises(ValueError, match="expected layout"):
        SHAREGPT4V.find_splits(tmp_path)
