"""OpenEarthMap: regions with any name, and pictures of xBD that may be missing."""

from __future__ import annotations

from pathlib import Path

from fixtures import save_picture, save_text
from fixtures.openearthmap import SIZE, make_openearthmap

from data_tools.converter import Sample, Settings
from data_tools.converters.openearthmap import CONVERTERS
from data_tools.report import ConversionReport
from rsunivlm.codecs import MaskCodec

(OPENEARTHMAP,) = CONVERTERS


def read(root: Path) -> tuple[list[Sample], ConversionReport]:
    report = ConversionReport("openearthmap")
    return list(OPENEARTHMAP.read("train", Settings(root, masks=MaskCodec(4)), report)), report


def images(samples: list[Sample]) -> list[str]:
    return list(dict.fromkeys(sample.images[0] for sample in samples))


def test_a_picture_of_xbd_is_taken_once_it_is_there(tmp_path: Path) -> None:
    make_openearthmap(tmp_path)
    assert OPENEARTHMAP.find_splits(tmp_path) == ("train", "val")  # the test labels are not public
    samples, report = read(tmp_path)
    assert images(samples) == ["aachen/images/aachen_1.tif", "el_rodeo/images/el_rodeo_2.tif"]
    assert list(report.left_out.values()) == [8]
    save_picture(tmp_path / "el_rodeo/images/el_rodeo_1.tif", SIZE)
    samples, report = read(tmp_path)
    assert "el_rodeo/images/el_rodeo_1.tif" in images(samples)
    assert not report.left_out


def test_without_the_table_every_missing_picture_is_bad(tmp_path: Path) -> None:
    make_openearthmap(tmp_path)
    (tmp_path / "xbd_files.csv").unlink()
    assert list(read(tmp_path)[1].bad) == ["el_rodeo/images/el_rodeo_1.tif", "tonga/images/tonga_6.tif"]


def test_names_that_lead_outside_are_bad(tmp_path: Path) -> None:
    make_openearthmap(tmp_path / "root")
    save_text(tmp_path / "root/train.txt", "../../../x_1.tif\nplain.tif\n")
    samples, report = read(tmp_path / "root")
    assert not samples
    assert all("must be relative" in reason for reason in report.bad.values())
    assert report.bad_samples == 2 * 8
