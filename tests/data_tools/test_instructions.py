"""Instruction records: strict turns, captions told from questions, one conversation per task."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from data_tools.angle_boxes import NoAreaError
from data_tools.converter import Sample
from data_tools.instructions import Exchange, asks_for_caption, dialogue_samples, exchanges
from data_tools.report import ConversionReport
from rsunivlm.tasks import Task


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[n % 2], "value": text} for n, text in enumerate(texts)]


def test_exchanges_come_without_mark_token_and_tags() -> None:
    asked = turns("<image>\n [refer]where is <p>the  ship</p> ?", "{<1>}", "What\n\nelse?", " Nothing ")
    assert exchanges(asked) == [
        Exchange("refer", "where is the ship ?", "the ship", "{<1>}"),
        Exchange("", "What\nelse?", "", "Nothing"),
    ]


@pytest.mark.parametrize(
    ("conversations", "reason"),
    [
        (None, "no list"),
        ([], "no list"),
        (turns("a", "b", "c"), "no list of questions with answers"),
        (turns("a", "b")[::-1], "turn 0"),
        (turns("a", " "), "turn 1"),
        ([{"from": "human", "value": 3}, {"from": "gpt", "value": "b"}], "turn 0"),
        (turns("<image>\n[vqa]", "b"), "only a token"),
    ],
)
def test_anything_else_is_an_error(conversations: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        exchanges(conversations)


@pytest.mark.parametrize(
    ("question", "caption"),
    [
        ("Describe this image.", True),
        ("Could you describe the contents of this image for me?", True),
        ("Please give a description of the high-resolution satellite image", True),
        ("Summarize the scene", True),
        ("Describe the image in detail", False),
        ("give a thorough description of what you see in this image", False),
        ("Describe the vehicles in the image.", False),
        ("How would you describe the roofs?", False),
        ("What is in the image?", False),
    ],
)
def test_only_short_descriptions_of_the_whole_image_are_captions(question: str, caption: bool) -> None:
    assert asks_for_caption(question) is caption


def test_a_dialogue_is_split_by_task_and_its_bad_questions_are_named() -> None:
    def read(name: str, exchange: Exchange) -> Iterator[Sample]:
        if exchange.question == "bad":
            raise ValueError("cannot be read")
        if exchange.question == "empty":
            raise NoAreaError
        yield Sample(name, ("a.png",), Task(exchange.token), {}, (exchange.answer,), {})

    report = ConversionReport("test")
    asked = turns("[vqa] a", "1", "[vg] b", "2", "bad", "3", "[vqa] c", "4", "empty", "5")
    samples = dialogue_samples("file.json", 7, asked, read, report)
    assert [(sample.id, sample.task, sample.conversation) for sample in samples] == [
        ("train-7-0", Task.VQA, "7-vqa"),
        ("train-7-1", Task.VG, ""),
        ("train-7-3", Task.VQA, "7-vqa"),
    ]
    assert report.bad == {"file.json record 7 question 2": "cannot be read"}
    assert report.left_out == {"boxes without area inside the frame": 1}
    assert dialogue_samples("file.json", 8, asked[:-1], read, report) == []
    assert report.bad_samples == 1 + 4
