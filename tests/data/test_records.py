"""Records: what is accepted, what is refused with which words, and files that are never half-written."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsunivlm.data.records import Record, RecordFile, Turn, read_records, resolve_image, write_records
from rsunivlm.tasks import Task


def entry(**changes: Any) -> dict[str, Any]:
    """A good record, with some keys replaced (None removes one)."""
    good = {
        "id": "a1",
        "image": "images/a.png",
        "task": "vg",
        "source": "synth",
        "conversations": talk("<image>\n[VG] the red car", "[10, 20, 30, 40]"),
        "targets": {"boxes_px": [[51.2, 102.4, 153.6, 204.8]], "image_size": [512, 512]},
    }
    return {key: value for key, value in {**good, **changes}.items() if value is not None}


def talk(*texts: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[index % 2], "value": text} for index, text in enumerate(texts)]


def test_a_record_is_read_and_written_back_unchanged() -> None:
    record = Record.from_json(entry())
    assert record.images == ("images/a.png",)
    assert record.turns == (Turn("[VG] the red car", "[10, 20, 30, 40]"),)
    assert record.task is Task.VG
    assert record.to_json() == entry()


def test_a_pair_with_chat_roles_and_marks_behind_the_question_is_understood() -> None:
    record = Record.from_json(
        {
            "id": 7,
            "image": ["A/1.png", "B/1.png"],
            "conversations": [
                {"role": "user", "content": "[SEG] Which areas belong to road?\n<image> <image>"},
                {"role": "assistant", "content": "others*2"},
            ],
        }
    )
    assert (record.id, record.task) == ("7", Task.CD)  # [SEG] about two images is change detection
    assert (
        record.to_json()["conversations"][0]["value"] == "<image><image>\n[SEG] Which areas belong to road?"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"id": ""}, "'id'"),
        ({"image": []}, "one or two paths"),
        ({"image": "/etc/passwd"}, "must be relative"),
        ({"image": "a/../../b.png"}, "'..'"),
        ({"image": "C:/b.png"}, "must be relative"),
        ({"image": "a\\b.png"}, "'/'"),
        ({"image": ["a.png", "b.png"]}, r"1 <image> mark\(s\) .* 2 image\(s\)"),
        ({"conversations": talk("<image><image>\n[VG] x", "y")}, r"2 <image> mark\(s\) .* 1 image\(s\)"),
        ({"conversations": talk("[VG] x", "y")}, r"0 <image> mark\(s\)"),
        ({"conversations": talk("in <image> find x", "y")}, "at the start or the end"),
        ({"conversations": talk("<image>\n[VG] x", "<image>")}, "at the start or the end"),
        ({"conversations": talk("<image>\n[VG] x", " ")}, "empty question or answer"),
        ({"conversations": talk("<image>", "y")}, "empty question or answer"),
        ({"conversations": talk("<image>\n[VG] x")}, "in pairs"),
        ({"conversations": talk("<image>\n[VG] x", "y")[::-1]}, "alternate"),
        ({"conversations": [{"from": "human"}, {"from": "gpt"}]}, "'value'"),
        ({"task": "grounding"}, "unknown task 'grounding'; use one of sc, vqa"),
        ({"task": "cd", "conversations": talk("<image>\n[SEG] x", "y")}, "compares two images"),
        ({"conversations": talk("<image>\n[VG] x", "y", "[SEG] z", "w"), "targets": None}, "pixel expert"),
        ({"granularity": 2}, "'granularity' is 2"),
        ({"source": 3}, "'source'"),
        ({"targets": [{}, {}]}, "one object per turn"),
        ({"targets": {"mask": "../secret.png"}}, "'..'"),
    ],
)
def test_a_bad_record_is_refused_with_its_place_and_the_reason(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        Record.from_json(entry(**changes), "train.jsonl:12")
    assert str(caught.value).startswith("train.jsonl:12")


def test_plain_words_never_condemn_a_record() -> None:
    """General data carries no tokens: 'locate' in a second turn is no proof of another expert."""
    turns = talk("<image>\nDescribe the image.", "A town.", "Can you locate it on a map?", "No.")
    record = Record.from_json(entry(task=None, conversations=turns, targets=None))
    assert record.task is Task.CAP


texts = st.text(min_size=1).filter(lambda text: text.strip() and "<image>" not in text)


@given(st.lists(st.tuples(texts.map(str.strip).map("[VQA] {}".format), texts), min_size=1, max_size=4))
def test_every_conversation_survives_the_file_format(turns: list[tuple[str, str]]) -> None:
    record = Record("r", ("a.png",), tuple(Turn(*turn) for turn in turns), Task.VQA)
    assert Record.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_a_record_file_gives_any_record_and_skips_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    lines = [json.dumps(entry(id=f"é{number}"), ensure_ascii=False) for number in range(3)]
    path.write_text(f"\n{lines[0]}\n\n{lines[1]}\r\n   \n{lines[2]}", encoding="utf-8")
    file = pickle.loads(pickle.dumps(RecordFile(path)))  # as a loader worker gets it
    assert len(file) == 3
    assert [file[i].id for i in (2, 0, 1, -1)] == ["é2", "é0", "é1", "é2"]
    assert [record.id for record in read_records(path)] == ["é0", "é1", "é2"]
    with pytest.raises(IndexError):
        file[3]


def test_a_record_file_checks_a_line_when_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps(entry()) + "\n\n" + json.dumps(entry())[:-20] + "\n")
    file = RecordFile(path)
    assert file[0].id == "a1"
    with pytest.raises(ValueError, match=r"r\.jsonl:3: not valid JSON .* cut short"):
        file[1]
    with pytest.raises(ValueError, match=r"r\.jsonl:3"):
        file.validate()


def test_a_json_list_is_read_but_not_indexed(tmp_path: Path) -> None:
    path = tmp_path / "llava.json"
    path.write_text(json.dumps([entry(), entry(id="a2", image="../x.png")]))
    records = read_records(path)
    assert next(records).id == "a1"
    with pytest.raises(ValueError, match=r"llava\.json\[1\]"):
        next(records)
    with pytest.raises(ValueError, match="convert it with write_records"):
        RecordFile(path)
    with pytest.raises(ValueError, match="does not exist"):
        RecordFile(tmp_path / "none.jsonl")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    record = Record.from_json(entry())
    assert write_records(path, [record, record]) == 2

    def failing():
        yield record
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError):
        write_records(path, failing())
    assert len(RecordFile(path)) == 2
    assert list(tmp_path.iterdir()) == [path]


def test_an_image_path_stays_below_its_root_also_through_links(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (root / "inside").symlink_to(root / "sub")
    (root / "leak").symlink_to(tmp_path / "outside")
    assert resolve_image(root, "inside/a.png") == (root / "sub/a.png").resolve()
    for path in ("leak/a.png", "../outside/a.png"):
        with pytest.raises(ValueError, match=r"outside the image root|must not use"):
            resolve_image(root, path)
