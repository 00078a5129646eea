import pytest

from rsunivlm.tasks import (
    TEMPLATES,
    Granularity,
    Task,
    parse_task,
    render_prompt,
    route,
    with_images,
    with_token,
)

SLOTS = {
    Task.SC: {"classes": "airport, beach"},
    Task.VQA: {"question": "Is there a ship?"},
    Task.VG: {"expression": "the red vehicle"},
    Task.REG: {"box": "[1, 20, 9, 30]"},
    Task.SS: {"label": "road"},
    Task.CD: {"label": "building"},
}


def test_granularities_follow_the_paper() -> None:
    image, region, pixel = Granularity.IMAGE, Granularity.REGION, Granularity.PIXEL
    assert {task: task.granularity for task in Task} == {
        Task.SC: image, Task.VQA: image, Task.CAP: image, Task.CC: image,
        Task.VG: region, Task.REG: region, Task.SS: pixel, Task.CD: pixel,
    }  # fmt: skip
    assert sorted({task.token for task in Task}) == [
        "[CAP]",
        "[CCD]",
        "[CLS]",
        "[REF]",
        "[SEG]",
        "[VG]",
        "[VQA]",
    ]
    assert [int(level) for level in (image, region, pixel)] == [0, 1, 2]


@pytest.mark.parametrize("task", list(Task))
def test_every_template_routes_to_its_task_by_token(task: Task) -> None:
    for index in range(len(TEMPLATES[task])):
        prompt = with_images(render_prompt(task, template=index, **SLOTS.get(task, {})), task.num_images)
        found = route(prompt, num_images=task.num_images)
        assert (found.task, found.source, found.confidence) == (task, "token", 1.0)


def test_template_counts_of_the_paper() -> None:
    assert len(TEMPLATES[Task.SS]) == 4
    assert len(TEMPLATES[Task.CC]) == 10
    assert render_prompt(Task.CD, label="building") == (
        "[SEG] Please Segment the building area in the images that have changed in the second image.."
    )


@pytest.mark.parametrize(
    ("prompt", "num_images", "task", "source"),
    [
        ("[refer] the red car", 1, Task.VG, "alias"),  # GeoChat's grounding, not our [REF]
        ("[Refer] the red car", 1, Task.VG, "alias"),
        ("[ref] what is [1, 2, 3, 4]?", 1, Task.REG, "token"),
        ("[identify] {<1><2><3><4>|<0>}", 1, Task.REG, "alias"),
        ("[vg] the red car", 1, Task.VG, "token"),
        ("please [seg] the roads", 1, Task.SS, "token"),
        ("[SEG] changed buildings", 2, Task.CD, "token"),
        ("What is [10, 20, 30.5, 40]?", 1, Task.REG, "structure"),
        ("What changed?", 2, Task.CC, "structure"),
        ("Output the segmentation mask of new houses", 2, Task.CD, "structure"),
        ("Where is the windmill?", 1, Task.VG, "words"),
        ("Segment the water", 1, Task.SS, "words"),
        ("Describe the picture", 1, Task.CAP, "words"),
        ("Classify this scene", 1, Task.SC, "words"),
        ("How many ships are there?", 1, Task.VQA, "words"),
        ("hello", 1, Task.VQA, "default"),
    ],
)
def test_ladder(prompt: str, num_images: int, task: Task, source: str) -> None:
    found = route(prompt, num_images=num_images)
    assert (found.task, found.source) == (task, source)
    assert found.granularity == task.granularity


def test_explicit_task_wins_over_everything() -> None:
    found = route("[SEG] the roads", num_images=1, task="vg")
    assert (found.task, found.source) == (Task.VG, "explicit")
    assert parse_task("[ref]") is Task.REG


def test_users_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match=r"unknown task 'grounding'.*vg"):
        route("x", task="grounding")
    with pytest.raises(ValueError, match="needs slots"):
        render_prompt(Task.VG, question="x")
    with pytest.raises(ValueError, match=r"0\.\.3, not 4"):
        render_prompt(Task.SS, template=4, label="road")


def test_image_marks() -> None:
    assert with_images("[CCD] x", 2) == "<image><image>\n[CCD] x"
    assert with_images("[CCD] x", 2, " ") == "<image> <image>\n[CCD] x"
    assert with_images("x", 0) == "x"


@pytest.mark.parametrize("prompt", ["the ship", "[VG] the ship", "[refer] the ship", "[seg] the ship"])
def test_prompts_open_with_one_token(prompt: str) -> None:
    assert with_token(prompt, Task.VG) == "[VG] the ship"


def test_brackets_that_are_no_token_stay() -> None:
    assert with_token("[1, 2, 3, 4] what is it?", Task.REG) == "[REF] [1, 2, 3, 4] what is it?"
