"""What is drawn and written is the answer, in the pixels that the reader expects."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor

from rsunivlm.demo import results
from rsunivlm.demo.results import make_result
from rsunivlm.demo.uploads import Upload
from rsunivlm.drawing import PALETTE
from rsunivlm.inference.answer import Answer
from rsunivlm.inference.draw import ANSWER
from rsunivlm.tasks import route

GREY = (128, 128, 128)


def grey(size: tuple[int, int] = (60, 40)) -> Image.Image:
    return Image.new("RGB", size, GREY)


def box_columns(picture: Image.Image, colour: str) -> list[int]:
    """First and last column that has a colour."""
    found = (np.asarray(picture) == ImageColor.getrgb(colour)).all(axis=-1).any(axis=0).nonzero()[0]
    return [int(found[0]), int(found[-1])]


def test_box_is_drawn_in_the_view_and_written_in_pixels_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "VIEW_SIDE", 600)
    # A file of 4800 x 3200, read at 1200 x 800, drawn at 600 x 400 enlarged to 720 x 480.
    scene = Upload("a b/..c.tif", grey((1200, 800)), (4800, 3200))
    answer = Answer("x", route("[VG] x"), boxes_px=np.array([[300.0, 200.0, 900.0, 600.0]]))
    result = make_result([scene], "[VG] x", answer, tmp_path)
    written = json.loads(result.files["json"].read_text())
    assert written["boxes_px"] == result.answer.boxes_px.tolist() == [[1200.0, 800.0, 3600.0, 2400.0]]
    assert written["images"] == [{"name": "a b/..c.tif", "size": [4800, 3200]}]
    assert result.views[0].size == (720, 480)
    left, right = box_columns(result.views[0], ANSWER)
    assert left == pytest.approx(180, abs=3)
    assert right == pytest.approx(540, abs=3)
    assert result.files["picture"].name == "_c_answer.png"
    assert set(result.files) == {"picture", "json"}


def test_mask_keeps_its_indices_and_shows_their_colours(tmp_path: Path) -> None:
    mask = np.zeros((40, 60), np.int64)
    mask[:, 30:] = 2
    answer = Answer("x", route("[SEG] x"), mask=mask, labels=("others", "road", "water"))
    result = make_result([Upload("a.png", grey(), (60, 40))], "[SEG] x", answer, tmp_path)
    with Image.open(result.files["mask"]) as written:
        np.testing.assert_array_equal(np.asarray(written), mask)
        assert written.convert("RGB").getpixel((59, 0)) == ImageColor.getrgb(PALETTE[1])
    assert result.views[0].getpixel((100, 100)) == GREY
    assert result.views[0].getpixel((600, 100)) != GREY


def test_pair_is_shown_at_one_size_with_the_answer_on_the_second(tmp_path: Path) -> None:
    scenes = [Upload("a.png", grey((30, 20)), (30, 20)), Upload("b.png", grey((600, 500)), (600, 500))]
    mask = np.ones((500, 600), np.uint8)
    answer = Answer("x", route("[SEG] x", num_images=2), mask=mask, labels=("others", "building"))
    before, after = make_result(scenes, "[SEG] x", answer, tmp_path).views
    assert before.size == after.size == (600, 500)
    assert before.getpixel((300, 250)) == GREY
    assert after.getpixel((300, 250)) != GREY


def test_region_that_was_asked_about_is_drawn(tmp_path: Path) -> None:
    answer = Answer("a ship", route("what is [25, 25, 75, 75]?"))
    region_px = np.array([[15.0, 10.0, 45.0, 30.0]])
    result = make_result([Upload("a.png", grey(), (60, 40))], "x", answer, tmp_path, region_px=region_px)
    assert result.views[0].size == (720, 480)
    left, right = box_columns(result.views[0], results.REGION)
    assert left == pytest.approx(180, abs=3)
    assert right == pytest.approx(540, abs=3)


def test_upload_is_not_drawn_on(tmp_path: Path) -> None:
    picture = grey((1000, 1000))
    answer = Answer("x", route("[VG] x"), boxes_px=np.array([[1.0, 1.0, 900.0, 900.0]]))
    make_result([Upload("a.png", picture, (1000, 1000))], "x", answer, tmp_path)
    assert picture.getcolors() == [(1_000_000, GREY)]


def test_a_strip_of_pixels_does_not_fill_the_memory(tmp_path: Path) -> None:
    answer = Answer("x", route("[VG] x"), boxes_px=np.array([[0.0, 0.0, 40_000.0, 1.0]]))
    result = make_result([Upload("a.png", grey((40_000, 1)), (40_000, 1))], "[VG] x", answer, tmp_path)
    assert max(result.views[0].size) <= 4096
