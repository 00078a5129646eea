"""UDD5: what is scored is a test split."""

from __future__ import annotations

from pathlib import Path

from fixtures.udd5 import make_udd5

from data_tools.converter import Settings
from data_tools.converters.udd5 import CONVERTERS
from data_tools.report import ConversionReport
from rsunivlm.codecs import MaskCodec

(UDD5,) = CONVERTERS


def test_the_validation_split_is_the_test_split(tmp_path: Path) -> None:
    make_udd5(tmp_path)
    assert UDD5.find_splits(tmp_path) == ("train", "test")
    samples = list(UDD5.read("test", Settings(tmp_path, masks=MaskCodec(4)), ConversionReport("udd5")))
    assert {sample.images for sample in samples} == {("val/src/000061.JPG",)}
    assert UDD5.manifest.counts == {"test": 160}
