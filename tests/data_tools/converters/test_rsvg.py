"""DIOR-RSVG and OPT-RSVG: running object indices over sorted XML files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fixtures.rsvg import Object, make_opt_rsvg, rsvg_xml

from data_tools.converter import Converter, Sample, Settings
from data_tools.converters.rsvg import DIOR_RSVG, OPT_RSVG
from data_tools.report import ConversionReport
from rsunivlm.codecs import BoxCodec
from rsunivlm.tasks import Task


@pytest.fixture
def root(tmp_path: Path, save_image: Callable[..., Path]) -> Path:
    """Three images of 200 x 100; objects 0, 1 | 2 | 3, 4 in sorted order, written in another order."""
    (tmp_path / "Annotations").mkdir()
    contents: dict[str, list[Object]] = {
        "00002": [((0, 0, 200, 100), "The Whole Field")],
        "00010": [((99, 50, 151, 75), "a ship"), ((10, 10, 30, 20), "a car")],
        "00001": [((20, 30, 120, 90), "A large harbor "), ((5, 5, 25, 25), "the tank")],
    }
    for stem, objects in contents.items():
        save_image(f"JPEGImages/{stem}.jpg", (200, 100))
        (tmp_path / f"Annotations/{stem}.xml").write_text(rsvg_xml(f"{stem}.jpg", (200, 100), objects))
    (tmp_path / "train.txt").write_text("0\n3\n2\n")
    (tmp_path / "test.txt").write_text("1\n4\n")
    return tmp_path


def convert(root: Path, split: str, **options: object) -> tuple[list[Sample], ConversionReport]:
    report = ConversionReport("dior_rsvg")
    return list(DIOR_RSVG.read(split, Settings(root, **options), report)), report


def test_the_index_counts_objects_over_sorted_files(root: Path) -> None:
    assert DIOR_RSVG.find_splits(root) == ("train", "test")
    train, report = convert(root, "train")
    grounding = [sample for sample in train if sample.task is Task.VG]
    assert [(s.id, s.images[0], s.slots["expression"], s.answers[0]) for s in grounding] == [
        ("train-0", "JPEGImages/00001.jpg", "a large harbor", "[10, 30, 60, 90]"),
        ("train-2", "JPEGImages/00002.jpg", "the whole field", "[0, 0, 100, 100]"),
        ("train-3", "JPEGImages/00010.jpg", "a ship", "[50, 50, 76, 75]"),
    ]
    assert grounding[0].target == {"boxes_px": [[20, 30, 120, 90]], "image_size": [200, 100]}
    description = next(sample for sample in train if sample.task is Task.REG)
    assert (description.slots["box"], description.answers[0]) == ("[10, 30, 60, 90]", "a large harbor")
    assert not report.bad
    assert not report.warnings


def test_the_text_decodes_to_the_annotation_within_half_a_step(root: Path) -> None:
    for sample in convert(root, "train")[0]:
        if sample.task is Task.VG:
            boxes, _ = BoxCodec().decode(sample.answers[0], (200, 100))
            np.testing.assert_allclose(boxes, sample.target["boxes_px"], atol=200 / 100 / 2)


@pytest.mark.parametrize(
    ("objects", "filename", "reason"),
    [
        ([((0, 0, 201, 50), "x")], "00002.jpg", "reaches beyond the 200 x 100 image"),
        ([((50, 0, 20, 50), "x")], "00002.jpg", "reversed or empty"),
        ([((50, 0, "nan", 50), "x")], "00002.jpg", "reversed or empty"),
        ([((50, 0, "", 50), "x")], "00002.jpg", "not made of numbers"),
        ([((0, 0, 20, 50), " ")], "00002.jpg", "no description"),
        ([((0, 0, 20, 50), "x")], "gone.jpg", "missing"),
        ([((0, 0, 20, 50), "x")], "../../etc/passwd", "must not use"),
    ],
)
def test_a_bad_object_is_named_and_skipped_without_moving_the_index(
    root: Path, objects: list[Object], filename: str, reason: str
) -> None:
    (root / "Annotations/00002.xml").write_text(rsvg_xml(filename, (200, 100), objects))
    samples, report = convert(root, "train")
    assert [sample.id for sample in samples if sample.task is Task.VG] == ["train-0", "train-3"]
    ((item, found),) = report.bad.items()
    assert "00002.xml" in item
    assert reason in found
    assert report.bad_samples == 2  # its VG and its REG sample


def test_a_stated_size_must_be_the_image_s(root: Path) -> None:
    (root / "Annotations/00002.xml").write_text(rsvg_xml("00002.jpg", (100, 200), [((0, 0, 9, 9), "x")]))
    _, report = convert(root, "train")
    assert "states size 100 x 200" in next(iter(report.bad.values()))


def test_an_xml_without_objects_is_named_and_a_wrong_total_stops(root: Path) -> None:
    (root / "Annotations/00002.xml").write_text(rsvg_xml("00002.jpg", (200, 100), []))
    with pytest.raises(ValueError, match="up to 4 but Annotations holds 4 objects"):
        convert(root, "test")
    (root / "test.txt").write_text("1\n")
    _, report = convert(root, "test")
    assert report.bad == {"Annotations/00002.xml": "has no <object>"}


def test_a_truncated_xml_is_skipped_only_while_the_numbering_can_be_proven(root: Path) -> None:
    path = root / "Annotations/00001.xml"
    whole = path.read_text()
    path.write_text(whole[:-30])  # both opening tags are still there
    samples, report = convert(root, "test")
    assert [sample.slots.get("expression") for sample in samples if sample.task is Task.VG] == ["a car"]
    assert "not valid XML" in report.bad["Annotations/00001.xml"]
    path.write_text(whole[: whole.rindex("<object>")])  # one object is lost: all later indices shift
    with pytest.raises(ValueError, match="cannot be trusted"):
        convert(root, "test")


def test_old_and_overlapping_splits_are_warned_about(root: Path) -> None:
    (root / "test.txt").write_text("\n".join(["3"] * 19_160))
    report = ConversionReport("opt_rsvg")
    list(OPT_RSVG.items("test", Settings(root), report))
    assert report.warnings == ["test.txt and train.txt share 1 objects"]  # only DIOR-RSVG had another split
    _, report = convert(root, "test")
    assert "lines of an old split" in report.warnings[0]
    assert "test.txt and train.txt share 1 objects" in report.warnings[1]
    (root / "test.txt").write_text("00001.jpg\n")
    with pytest.raises(ValueError, match=r"test\.txt: must hold one object number per line"):
        convert(root, "test")


def test_a_box_too_small_for_the_codec_counts_in_evaluation_only(root: Path) -> None:
    (root / "Annotations/00002.xml").write_text(
        rsvg_xml("00002.jpg", (200, 100), [((50.1, 50, 50.4, 60), "x")])
    )
    samples, report = convert(root, "train", include_overlap=True)
    (small,) = (sample for sample in samples if sample.images == ("JPEGImages/00002.jpg",))
    assert (small.task, small.training) == (Task.VG, False)
    boxes, _ = BoxCodec().decode(small.answers[0], (200, 100))
    np.testing.assert_allclose(boxes, small.target["boxes_px"], atol=1e-6)
    assert report.left_out.total() == 1


def test_the_real_layout_converts_in_full(rs_sample: Callable[[str], Path]) -> None:
    root = rs_sample("vhr10_rsvg")
    counts = {}
    for split in DIOR_RSVG.find_splits(root):
        samples, report = convert(root, split)
        assert not report.bad
        assert not report.warnings
        counts[split] = sum(sample.task is Task.VG for sample in samples)
    assert counts == {"train": 967, "val": 122, "test": 187}


def test_objects_of_test_images_are_not_trained_unless_asked_for(root: Path) -> None:
    """00001 has object 0 in train and 1 in test, 00010 object 3 in train and 4 in test."""
    train, report = convert(root, "train")
    assert {s.id for s in train if s.training} == {"train-2", "train-2-reg"}
    assert report.left_out.total() == 4
    train, report = convert(root, "train", include_overlap=True)
    assert all(s.training for s in train)
    assert not report.left_out


def test_decimal_boxes_and_images_of_any_size(tmp_path: Path) -> None:
    make_opt_rsvg(tmp_path)
    report = ConversionReport("opt_rsvg")
    samples = {
        sample.id: sample
        for split in OPT_RSVG.find_splits(tmp_path)
        for sample in OPT_RSVG.read(split, Settings(tmp_path), report)
    }
    assert not report.bad
    assert samples["val-2"].target == {"boxes_px": [[22.4, 30.6, 40.0, 60.0]], "image_size": [40, 60]}
    assert samples["val-2"].answers == ("[56, 51, 100, 100]",)
    assert samples["train-0"].target["image_size"] == [64, 32]
    assert not samples["val-2"].training  # image 0002 has a test object
    assert (samples["train-3"].training, "train-3-reg" in samples) == (False, False)  # too thin for the codec


@pytest.mark.parametrize(
    ("converter", "counts"),
    [
        (DIOR_RSVG, {"train": 26_991, "val": 3_829, "test": 7_500}),
        (OPT_RSVG, {"train": 19_580, "val": 4_895, "test": 24_477}),
    ],
)
def test_published_counts(converter: Converter, counts: dict[str, int]) -> None:
    assert converter.manifest.counts == counts
    assert sum(counts.values()) in (38_320, 48_952)
