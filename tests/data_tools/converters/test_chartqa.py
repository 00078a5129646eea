"""ChartQA: the archive's own folder, or the one around it."""

from __future__ import annotations

from pathlib import Path

from fixtures.chartqa import make_chartqa

from data_tools.converter import Settings
from data_tools.converters.chartqa import CONVERTERS
from data_tools.report import ConversionReport

(CHARTQA,) = CONVERTERS


def test_the_root_may_be_the_archive_s_folder_and_test_is_never_read(tmp_path: Path) -> None:
    make_chartqa(tmp_path)
    inner = tmp_path / "ChartQA Dataset"
    assert CHARTQA.find_splits(tmp_path) == CHARTQA.find_splits(inner) == ("train", "val")
    outside, inside = (
        list(CHARTQA.read("val", Settings(root), ConversionReport("chartqa"))) for root in (tmp_path, inner)
    )
    assert [sample.id for sample in outside] == [sample.id for sample in inside]
    assert {sample.images for sample in inside} == {("val/png/41699051.png",), ("val/png/00006834.png",)}
