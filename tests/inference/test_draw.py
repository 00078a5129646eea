import numpy as np
from PIL import Image

from rsunivlm.drawing import MIN_SIDE
from rsunivlm.inference.answer import Answer
from rsunivlm.inference.draw import render_answer
from rsunivlm.tasks import route


def test_sheet_shows_the_pair_enlarged_with_the_answer_on_the_second() -> None:
    pictures = [Image.new("RGB", (60, 40), "gray"), Image.new("RGB", (60, 40), "gray")]
    mask = np.ones((40, 60), np.uint8)
    answer = Answer("x", route("[SEG] x", num_images=2), mask=mask, labels=("others", "building"))
    sheet = render_answer(pictures, "[SEG] changed building", answer)
    assert sheet.width == 2 * 60 * MIN_SIDE // 40
    assert sheet.height > MIN_SIDE
    assert sheet.getpixel((100, 100)) == (128, 128, 128)
    assert sheet.getpixel((sheet.width - 100, 100)) != (128, 128, 128)
