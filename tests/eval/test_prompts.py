"""The words of questions: the bundled table, tables of users, and tables that are refused."""

import pytest

from eval.prompts import PromptStyle
from rsunivlm.codecs import MaskCodec
from rsunivlm.tasks import Task

ASKED = {
    Task.SC: "[CLS] Choose the best category describe the image from: a, b. Only output the category.",
    Task.VQA: "[VQA] Is there a ship?",
    Task.CAP: "[CAP] Describe this image in one sentence.",
    Task.VG: "[VG] the red car",
    Task.REG: "[REF] what is [1, 2, 3, 4]?",
    Task.SS: "[SEG] Please segment the building in this image.",
    Task.CC: "[CCD] What has changed?",
    Task.CD: "[SEG] Which areas belong to building and have undergone changes?",
}


def worded(style, task):
    return style.prompt(ASKED[task], task, ["building"], "in furlongs", MaskCodec(16))


def test_plain_words_for_every_task():
    style = PromptStyle.named("plain")
    said = {task: worded(style, task) for task in Task}
    assert "[" not in said[Task.VQA]
    for task in Task:
        assert ASKED[task].removeprefix(task.token).strip() in said[task]
        assert "{" not in said[task]
        assert task.token not in said[task]
    for task in (Task.VG, Task.REG):
        assert "in furlongs" in said[task]
    for task in (Task.SS, Task.CD):
        assert "16 lines of 16 cells" in said[task]
        assert "building" in said[task]
        assert "others" in said[task]


def test_tokens_stay_or_are_put_there():
    style = PromptStyle.named("token")
    assert {task: worded(style, task) for task in Task} == ASKED
    assert style.prompt("the red car", Task.VG, None, "", MaskCodec()) == "[VG] the red car"


def test_words_of_a_user(tmp_path):
    table = tmp_path / "mine.yaml"
    table.write_text("vg: 'Locate {question} ({boxes}).'\n'[CAP]': Caption it.\n")
    style = PromptStyle.named(str(table))
    assert worded(style, Task.VG) == "Locate the red car (in furlongs)."
    assert worded(style, Task.CAP) == "Caption it."
    assert worded(style, Task.VQA) == worded(PromptStyle.named("plain"), Task.VQA)
    names = [PromptStyle.named(name).describe() for name in ("plain", "token", str(table))]
    assert len({name["sha256"] for name in names}) == 3
    assert names[2]["name"] == "mine.yaml"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("vg: '{question} {mood}'", r"vg: unknown slot \['mood'\]; known: question, boxes"),
        ("dance: hello", "dance: unknown task 'dance'"),
        ("vg: '{question'", "vg: expected '}'"),
        ("vg: 3", "must give for each task its prompt"),
        ("- vg", "must give for each task its prompt"),
        ("", "must give for each task its prompt"),
        ("vg: [", "not valid YAML"),
    ],
)
def test_bad_tables_are_refused(tmp_path, content, message):
    table = tmp_path / "bad.yaml"
    table.write_text(content)
    with pytest.raises(ValueError, match=rf"bad\.yaml: {message}"):
        PromptStyle.named(str(table))


def test_unknown_styles_are_refused(tmp_path):
    for name in ("rude", str(tmp_path / "missing.yaml"), str(tmp_path)):
        with pytest.raises(ValueError, match="no such file; use plain, token or a"):
            PromptStyle.named(name)
