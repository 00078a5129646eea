"""One question per class and task, in the words of the prompt templates; what cannot be asked is refused."""

import pytest

from rsunivlm.geo.questions import make_questions, raster_task
from rsunivlm.tasks import Task


def test_seg_is_segmentation():
    assert raster_task("seg") is raster_task("ss") is raster_task("[SEG]") is Task.SS
    with pytest.raises(ValueError, match="task reg describes a box"):
        raster_task("reg")
    with pytest.raises(ValueError, match="unknown task 'segment'"):
        raster_task("segment")


@pytest.mark.parametrize(
    ("task", "classes", "prompt", "questions"),
    [
        (
            "seg",
            ["building", "road"],
            None,
            [
                ("building", "[SEG] Can you segment the building in this image?"),
                ("road", "[SEG] Can you segment the road in this image?"),
            ],
        ),
        ("vg", ["airplane"], None, [("airplane", "[VG] airplane")]),
        ("vg", [], "the largest ship", [("the largest ship", "[VG] the largest ship")]),
        ("vg", [], "[refer] the largest ship", [("the largest ship", "[VG] the largest ship")]),
        ("vqa", [], "Is there a road?", [("Is there a road?", "[VQA] Is there a road?")]),
        ("cap", [], None, [("Describe this image in one sentence.",) * 2]),
        ("cc", [], "What is new?", [("What is new?", "[CCD] What is new?")]),
    ],
)
def test_questions(task, classes, prompt, questions):
    made = make_questions(raster_task(task), classes, prompt)
    assert [question.name for question in made] == [name for name, _ in questions]
    assert all(question.prompt.endswith(text) for question, (_, text) in zip(made, questions, strict=True))
    mask = raster_task(task).answer_kind == "mask"
    for question in made:
        request = question.about(["picture"])
        assert request.labels == ([question.name] if mask else None)
        assert request.task == raster_task(task)


def test_scene_classes_are_listed_in_one_question():
    [question] = make_questions(Task.SC, ["airport", "port"], None)
    assert "from: airport, port." in question.prompt
    assert question.about(["picture"]).choices == ("airport", "port")


@pytest.mark.parametrize(
    ("task", "classes", "prompt", "message"),
    [
        ("seg", [], None, "task ss needs --classes"),
        ("cd", [], None, "task cd needs --classes"),
        ("sc", [], None, "task sc needs --classes"),
        ("seg", ["a"], "x", "takes --classes, not --prompt"),
        ("vg", [], None, "needs either --classes"),
        ("vg", ["a"], "x", "needs either --classes"),
        ("vqa", [], None, "task vqa needs --prompt"),
        ("cap", ["a"], None, "takes --prompt, not --classes"),
        ("seg", ["road", "Road"], None, "classes 'road' and 'Road' mean the same"),
        ("seg", ["road", ""], None, "class '' has nothing but punctuation"),
        ("seg", ["a|b"], None, r"class 'a\|b' holds"),
        ("seg", ["others"], None, "what masks call their background"),
        ("seg", [f"class {n}" for n in range(255)], None, "names 255 classes, the limit is 254"),
    ],
)
def test_what_cannot_be_asked(task, classes, prompt, message):
    with pytest.raises(ValueError, match=message):
        make_questions(raster_task(task), classes, prompt)
