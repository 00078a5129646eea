"""AllSeeing-V2: the padding is undone, tags go, and what cannot be read is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fixtures import save_json, save_picture
from fixtures.allseeing_v2 import make_allseeing_v2
from fixtures.sharegpt4v import record
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_tools.converter import Sample, Settings
from data_tools.converters.allseeing_v2 import CONVERTERS
from data_tools.report import ConversionReport
from rsunivlm.codecs import BoxCodec
from rsunivlm.tasks import Task

(ALLSEEING,) = CONVERTERS
IMAGE = "coco/train2017/1.png"


def convert(root: Path, **options: object) -> tuple[list[Sample], ConversionReport]:
    report = ConversionReport("allseeing_v2")
    return list(ALLSEEING.read("train", Settings(root, **options), report)), report


def as_published(box: tuple[float, ...], size: tuple[int, int], padded: bool) -> list[int]:
    """A box in pixels as AS-V2 writes it: on a square with the picture in the middle, 0..999."""
    side = max(size)
    numbers = []
    for value, length in zip(box, size * 2, strict=True):
        shifted, scale = (value + (side - length) // 2, side) if padded else (value, length)
        numbers.append(round(shifted / scale * 999))
    return numbers


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(st.tuples(st.integers(8, 60), st.integers(8, 60)), st.booleans(), st.data())
def test_boxes_come_back_in_pixels_of_the_image(
    tmp_path: Path, size: tuple[int, int], padded: bool, data: st.DataObject
) -> None:
    x1, y1 = (data.draw(st.integers(0, length - 4)) for length in size)
    x2, y2 = (data.draw(st.integers(low + 3, high)) for low, high in zip((x1, y1), size, strict=True))
    save_picture(tmp_path / IMAGE, size)
    tag = f"<box>[{as_published((x1, y1, x2, y2), size, padded)}]</box>"
    for path in tmp_path.glob("*.json"):
        path.unlink()
    save_json(
        tmp_path / ("rec_region_captioning.json" if padded else "rec_region_captioning_wo_square_pad.json"),
        [record(IMAGE, f"<image>\nDescribe {tag}.", f"A <ref>thing</ref>{tag}.")],
    )
    save_json(
        tmp_path / ("rec_conversation.json" if padded else "rec_conversation_wo_square_pad.json"),
        [record(IMAGE, "<image>\nWhat is there?", f"A <ref>thing</ref>{tag}.")],
    )
    codec = BoxCodec(range=1000)
    (grounded, region), report = convert(tmp_path, boxes=codec)
    assert not report.bad
    assert (grounded.task, region.task) == (Task.VQA, Task.REG)
    step = max(size) / 999 / 2 + 1e-9  # of the published scale; our own adds half of its step
    np.testing.assert_allclose(region.target["box_px"], (x1, y1, x2, y2), atol=step)
    decoded, _ = codec.decode(grounded.answers[0], size)
    np.testing.assert_allclose(decoded, [(x1, y1, x2, y2)], atol=step + max(size) / 1000 / 2)
    assert region.answers == ("A thing.",)
    assert grounded.answers[0].startswith("A thing [")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("<ref>it</ref><box>[[0, 0, 9]]</box>", "four whole numbers"),
        ("<ref>it</ref><box>[[0, 0, 9.5, 9]]</box>", "four whole numbers"),
        ("<ref>it</ref><box>[[9, 0, 0, 9]]</box>", "is reversed or outside 0..999"),
        ("<ref>it</ref><box>[[0, 0, 1000, 9]]</box>", "is reversed or outside 0..999"),
        ("<ref>it</ref><box>[[0, 0, 9, 9]</box>", "is not valid JSON"),
        ("<ref>it</ref><box>7</box>", "no list of boxes"),
        ("<ref>it</ref><box>[[0, 0, 9, 9]]", "where no box can be read"),
        ("it is at [[0, 0, 9, 9]]", "where no box can be read"),
        ("it is at [0, 0, 9, 9]", "where no box can be read"),
        ("<box>[[0, 0, 900, 900]]</box>", "has no words"),
    ],
)
def test_a_text_that_cannot_be_read_is_named_and_skipped(answer: str, reason: str, tmp_path: Path) -> None:
    save_picture(tmp_path / IMAGE, (30, 30))
    good = record(IMAGE, "<image>\nIs it day?", "Yes.")
    save_json(tmp_path / "rec_conversation_22k.json", [record(IMAGE, "<image>\nWhere?", answer), good])
    (sample,), report = convert(tmp_path)
    assert sample.id == "train-conversation-1"
    assert reason in report.bad["rec_conversation_22k.json entry 0"]


def test_a_thing_whose_box_vanishes_is_named_only(tmp_path: Path) -> None:
    save_picture(tmp_path / IMAGE, (30, 30))
    text = (
        "A <ref>bird</ref><box>[[100, 100, 103, 103]]</box> and <ref>sky</ref><box>[[0, 0, 999, 500]]</box>."
    )
    save_json(tmp_path / "rec_conversation_22k.json", [record(IMAGE, "<image>\nWhat?", text)])
    (sample,), _ = convert(tmp_path)
    assert sample.answers == ("A bird and sky [0, 0, 100, 50].",)


def test_missing_and_doubled_files(tmp_path: Path) -> None:
    make_allseeing_v2(tmp_path)
    (tmp_path / "rec_conversation_22k.json").unlink()
    _, report = convert(tmp_path)
    assert report.warnings == ["rec_conversation*.json is missing"]
    entries = json.loads((tmp_path / "rec_region_captioning_63k.json").read_text())
    save_json(tmp_path / "rec_region_captioning.json", entries)
    with pytest.raises(
        ValueError, match=r"rec_region_captioning\.json and rec_region_captioning_63k\.json; keep one"
    ):
        ALLSEEING.find_splits(tmp_path)
