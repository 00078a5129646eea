"""VDD: classes by the names that scores use."""

from __future__ import annotations

from pathlib import Path

from fixtures.vdd import make_vdd

from data_tools.converter import Settings
from data_tools.converters.vdd import CONVERTERS
from data_tools.report import ConversionReport
from rsunivlm.codecs import MaskCodec

(VDD,) = CONVERTERS


def test_every_split_is_itself_and_other_is_not_asked_for(tmp_path: Path) -> None:
    make_vdd(tmp_path)
    assert VDD.find_splits(tmp_path) == ("train", "val", "test")
    samples = list(VDD.read("val", Settings(tmp_path, masks=MaskCodec(4)), ConversionReport("vdd")))
    assert {sample.target["value"]: sample.slots["label"] for sample in samples} == {
        1: "facade",
        2: "road",
        3: "vegetation",
        4: "vehicle",
        5: "roof",
        6: "water",
    }
    assert VDD.manifest.counts == {"test": 240}
