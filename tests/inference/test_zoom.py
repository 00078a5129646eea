"""A second look in a crop: where it is taken, what it brings, and when the first look stays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from rsunivlm.codecs import BoxCodec, MaskCodec
from rsunivlm.inference.answer import Answer, Request, read_answer
from rsunivlm.inference.zoom import answer_zoomed
from rsunivlm.tasks import Task, route

SEG = "[SEG] Please segment the ship in this image."
CHANGED = "[SEG] Which areas belong to ship and have undergone changes?"


class Oracle:
    """Answers about pictures that are their own true masks: white is the ship."""

    def __init__(self, grid: int = 24, boxes: str | None = None, blind_below: int = 0, rubbish: bool = False):
        self.codec, self.boxes, self.blind_below, self.rubbish = MaskCodec(grid), boxes, blind_below, rubbish
        self.asked: list[Request] = []

    def answer_batch(self, requests: Sequence[Request]) -> list[Answer]:
        self.asked += requests
        return [self._answer(request) for request in requests]

    def _answer(self, request: Request) -> Answer:
        chosen = route(request.prompt, num_images=len(request.images), task=request.task)
        picture = request.images[-1]
        if chosen.task is Task.VG:
            text = self.boxes or ""
        else:
            mask = (np.asarray(picture)[..., 0] > 127).astype(np.uint8)
            if picture.width < self.blind_below:
                mask[:] = 0
            text = self.codec.encode(mask, ("others", "ship"))
            if self.rubbish and picture.width < 100:
                text = "I do not know"
        codecs = {"box_codec": BoxCodec(), "mask_codec": self.codec}
        return read_answer(text, chosen, picture.size, labels=request.labels, **codecs)


def scene(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (240, 120)) -> Image.Image:
    picture = Image.new("RGB", size)
    for box in boxes:
        picture.paste((255, 255, 255), box)
    return picture


def asked_about(picture: Image.Image) -> Request:
    return Request([picture], SEG, labels=["ship"])


def truth(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture)[..., 0] > 127


def iou(answer: Answer, picture: Image.Image) -> float:
    found, true = answer.mask == 1, truth(picture)
    return (found & true).sum() / (found | true).sum()


def test_the_second_look_is_the_mask_and_one_cell_and_finer():
    oracle, picture = Oracle(), scene((103, 44, 139, 68))
    (coarse,) = oracle.answer_batch([asked_about(picture)])
    (answer,) = answer_zoomed(oracle.answer_batch, [asked_about(picture)])
    # Cells of 10 x 5 pixels; those with their centre on the ship span 100..140 x 45..70.
    assert oracle.asked[-1].images[0].size == (40 + 2 * 10, 25 + 2 * 5)
    assert iou(coarse, picture) < 0.81 < 0.94 < iou(answer, picture)
    assert answer.mask.shape == (120, 240)
    first, second = answer.text.split("\n\n")
    assert first == coarse.text
    assert second != first
    assert answer.labels == ("others", "ship")
    assert answer.report.clean


def test_a_box_finds_what_the_first_look_misses():
    picture = scene((106, 43, 112, 46))  # no cell has its centre here
    oracle = Oracle(boxes="[44, 36, 47, 38]")
    by_mask = answer_zoomed(oracle.answer_batch, [asked_about(picture)])
    assert not by_mask[0].mask.any()
    (answer,) = answer_zoomed(oracle.answer_batch, [asked_about(picture)], find="box")
    vg = next(request for request in oracle.asked if request.task is Task.VG)
    assert vg.prompt == "ship"
    assert iou(answer, picture) > 0.5


def test_many_questions_keep_their_places():
    pictures = [scene((20, 20, 60, 50)), scene(), scene((0, 0, 240, 120)), scene((200, 90, 240, 120))]
    oracle = Oracle()
    answers = answer_zoomed(oracle.answer_batch, [asked_about(picture) for picture in pictures])
    assert len(oracle.asked) == 4 + 2  # nothing to look at in the second, nothing new in the third
    assert not answers[1].mask.any()
    assert answers[2].mask.all()
    assert iou(answers[0], pictures[0]) > 0.8
    assert iou(answers[3], pictures[3]) > 0.8


@pytest.mark.parametrize("failing", [{"blind_below": 100}, {"rubbish": True}])
def test_the_first_mask_stays_where_the_second_shows_nothing(failing):
    picture = scene((103, 44, 139, 68))
    oracle = Oracle(**failing)
    (coarse,) = oracle.answer_batch([asked_about(picture)])
    (answer,) = answer_zoomed(oracle.answer_batch, [asked_about(picture)])
    assert answer.text == coarse.text
    assert (answer.mask == coarse.mask).all()


def test_both_images_of_a_pair_are_cropped_alike():
    before, after = scene((10, 10, 20, 20)), scene((103, 44, 139, 68))
    oracle = Oracle()
    (answer,) = answer_zoomed(oracle.answer_batch, [Request([before, after], CHANGED, labels=["ship"])])
    assert [image.size for image in oracle.asked[-1].images] == [(60, 35)] * 2
    assert iou(answer, after) > 0.9


@pytest.mark.parametrize(
    ("request_", "find", "reason"),
    [
        (Request([scene()], "[CAP] Describe this image.", labels=["ship"]), "mask", "one label"),
        (Request([scene()], SEG), "mask", "one label"),
        (Request([scene()], SEG, labels=["ship", "car"]), "mask", "one label"),
        (Request([scene(), scene()], CHANGED, labels=["ship"]), "box", "not a pair"),
        (Request([scene(), scene(size=(9, 9))], CHANGED, labels=["ship"]), "mask", "one size"),
    ],
)
def test_questions_that_cannot_be_looked_at_twice_are_refused(request_, find, reason):
    with pytest.raises(ValueError, match=reason):
        answer_zoomed(Oracle().answer_batch, [request_], find=find)
