"""LoveDA: splits by folders, names by scenes."""

from __future__ import annotations

from pathlib import Path

from fixtures.loveda import make_loveda

from data_tools.converter import Settings
from data_tools.converters.loveda import CONVERTERS
from data_tools.report import ConversionReport

(LOVEDA,) = CONVERTERS


def test_only_labelled_splits_are_offered_and_scenes_are_told_apart(tmp_path: Path) -> None:
    make_loveda(tmp_path)
    assert LOVEDA.find_splits(tmp_path) == ("train", "val")
    found = list(LOVEDA.items("train", Settings(tmp_path), ConversionReport("loveda")))
    assert [item.name for item in found] == ["Rural-0", "Rural-1", "Urban-10", "Urban-11"]
    assert found[2].images == ("Train/Urban/images_png/10.png",)
    assert found[2].mask == "Train/Urban/masks_png/10.png"


def test_published_images_times_classes() -> None:
    assert LOVEDA.manifest.counts == {"train": 2_522 * 6, "val": 1_669 * 6}
