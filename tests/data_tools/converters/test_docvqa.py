"""DocVQA: where the pages lie, and which answers are kept."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fixtures.docvqa import make_docvqa

from data_tools.converter import Settings
from data_tools.converters.docvqa import CONVERTERS
from data_tools.report import ConversionReport

(DOCVQA,) = CONVERTERS


@pytest.mark.parametrize("folder", ["documents", "train/documents", "spdocvqa_images"])
def test_pages_are_found_in_every_published_layout(folder: str, tmp_path: Path) -> None:
    make_docvqa(tmp_path)
    if folder != "documents":
        shutil.move(tmp_path / "documents", tmp_path / folder)
    if folder == "spdocvqa_images":
        (tmp_path / "spdocvqa_qas").mkdir()
        (tmp_path / "train_v1.0.json").rename(tmp_path / "spdocvqa_qas/train_v1.0_withQT.json")
    samples = list(DOCVQA.read("train", Settings(tmp_path), ConversionReport("docvqa")))
    assert {sample.images[0] for sample in samples} == {
        f"{folder}/xnbl0037_1.png",
        f"{folder}/jfwl0227_2.png",
    }
    first = samples[0]
    assert (first.answers, first.target["answers"]) == (("1/8/93",), ["1/8/93", "Jan 8, 1993"])
