import numpy as np
from PIL import Image

from rsunivlm.inference.answer import Answer
from rsunivlm.inference.draw import ANSWER, MIN_SIDE, blend_mask, draw_boxes, render_answer
from rsunivlm.tasks import route

RED = (0xFF, 0x17, 0x44)


def test_boxes_are_drawn_where_they_are() -> None:
    picture = Image.new("RGB", (160, 160), "gray")
    draw_boxes(picture, np.array([[20, 30, 60, 90]]), ANSWER)
    assert picture.getpixel((20, 60)) == RED
    assert picture.getpixel((40, 30)) == RED
    assert picture.getpixel((40, 60)) == picture.getpixel((150, 150)) == (128, 128, 128)


def test_masks_tint_their_pixels_only() -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[:4, :4] = 1
    tinted = np.asarray(blend_mask(Image.new("RGB", (16, 16), "gray"), mask))
    assert (tinted[8:] == 128).all()
    assert (tinted[:, 8:] == 128).all()
    assert (tinted[:8, :8] != 128).all(axis=(0, 1)).any()


def test_sheet_shows_the_pair_enlarged_with_the_answer_on_the_second() -> None:
    pictures = [Image.new("RGB", (60, 40), "gray"), Image.new("RGB", (60, 40), "gray")]
    mask = np.ones((40, 60), np.uint8)
    answer = Answer("x", route("[SEG] x", num_images=2), mask=mask, labels=("others", "building"))
    sheet = render_answer(pictures, "[SEG] changed building", answer)
    assert sheet.width == 2 * 60 * MIN_SIDE // 40
    assert sheet.height > MIN_SIDE
    assert sheet.getpixel((100, 100)) == (128, 128, 128)
    assert sheet.getpixel((sheet.width - 100, 100)) != (128, 128, 128)
