"""The page says what the answer says, in its colours, and lets nobody write HTML into it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from rsunivlm.codecs import MaskCodec
from rsunivlm.demo.markup import answer_html, error_box, scene_line
from rsunivlm.demo.uploads import Upload
from rsunivlm.drawing import PALETTE
from rsunivlm.inference.answer import Answer
from rsunivlm.tasks import route

EVIL = "<img src=x onerror=alert(1)>"


def test_everything_written_by_others_is_escaped() -> None:
    mask = np.ones((4, 4), np.uint8)
    answers = [
        Answer(EVIL, route("[CAP] x")),
        Answer(EVIL, route("[SEG] x"), mask=mask, labels=("others", EVIL)),
    ]
    scene = Upload(EVIL, Image.new("RGB", (4, 4)), (4, 4), notes=(EVIL,))
    for html in (*map(answer_html, answers), scene_line([scene]), error_box(EVIL)):
        assert "<img" not in html
        assert "&lt;img src=x" in html


def test_route_says_task_expert_reason_and_confidence() -> None:
    texts = [
        (route("the ship", task="vg"), ["grounding [VG]", "region", "you chose the task", "100%"]),
        (route("find the ship"), ["grounding [VG]", "region", "words of the prompt", "50%"]),
        (route("describe it", num_images=2), ["change caption [CCD]", "image", "two images", "80%"]),
        (route("what is [1, 2, 3, 4]?"), ["region description [REF]", "a box in the prompt", "80%"]),
        (route("ship"), ["question answering [VQA]", "nothing in the prompt decided", "0%"]),
    ]
    for chosen, expected in texts:
        html = answer_html(Answer("x", chosen))
        assert [text for text in expected if f">{text}<" not in html] == []


def test_legend_has_the_shares_and_the_colours_of_the_drawing() -> None:
    mask = np.array([[0, 0, 1, 2]], np.uint8)
    html = answer_html(Answer("x", route("[SEG] x"), mask=mask, labels=("others", "road", "water")))
    assert f'background: {PALETTE[1]}"></span>water <b>25.0%</b>' in html
    assert 'background: transparent"></span>others <b>50.0%</b>' in html


def test_drafts_of_experts_stand_below_the_caption() -> None:
    html = answer_html(Answer("a road.", route("[CAP] x"), drafts={"theme": "a road", "objects": EVIL}))
    assert "<b>theme</b> a road</p>" in html
    assert "<img" not in html


def test_empty_and_broken_answers_are_told() -> None:
    empty = Answer("x", route("[SEG] x"), mask=np.zeros((2, 2), np.uint8), labels=("others", "road"))
    assert "The mask is empty" in answer_html(empty)
    assert "No box could be read" in answer_html(Answer("x", route("[VG] x"), boxes_px=np.empty((0, 4))))
    assert "wrote nothing" in answer_html(Answer("", route("[CAP] x")))
    _, report = MaskCodec(grid=2).decode("road*5\nroad*2", ("others", "road"), (2, 2))
    html = answer_html(replace(empty, report=report, finished=False))
    assert "cut at the limit" in html
    assert "not well-formed" in html
