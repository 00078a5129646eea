"""Splitting caption records: what stands in the targets, what is counted, what is refused."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from handmade import line

from data_tools.__main__ import main
from rsunivlm.data.records import read_records

WORDS = ["a", ".", "b", "near", "c", ".", "d", "."]


def captions(path: Path, *texts: tuple[str, str], task: str = "cap") -> Path:
    """A record file of (image, caption)."""
    lines = [line(n, image, task, f"Prompt {n}?", text) for n, (image, text) in enumerate(texts)]
    path.write_text("".join(json.dumps(entry) + "\n" for entry in lines))
    return path


def test_every_caption_gets_its_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = captions(
        tmp_path / "cap.jsonl", ("a.png", "a road . trees beside it . four cars ."), ("b.png", "fields .")
    )
    assert main(["split-captions", str(file), "--out", str(tmp_path / "out")]) == 0
    first, second = read_records(tmp_path / "out/cap.jsonl")
    assert first.turns[0].answer == "a road . trees beside it . four cars ."
    assert first.targets == {"theme": "a road .", "objects": "four cars .", "relations": "trees beside it ."}
    assert second.targets == {"theme": "fields .", "objects": "", "relations": ""}
    assert json.loads((tmp_path / "out/split.json").read_text()) == {
        "source": str(file),
        "records": 2,
        "join": False,
        "random": None,
        "captions": 2,
        "words": 12,
        "coverage": 1.0,
        "parts": {
            "theme": {"empty": 0, "sentences": 2, "words": 5},
            "objects": {"empty": 1, "sentences": 1, "words": 3},
            "relations": {"empty": 1, "sentences": 1, "words": 4},
        },
    }
    assert "words kept: 100.00% of 12" in capsys.readouterr().out


def test_captions_of_an_image_are_joined_wherever_they_stand(tmp_path: Path) -> None:
    file = captions(
        tmp_path / "cap.jsonl",
        ("a.png", "a road ."),
        ("b.png", "fields ."),
        ("a.png", "trees beside it ."),
        ("a.png", "a road ."),
    )
    for source, out in ((file, "once"), (tmp_path / "once/cap.jsonl", "twice")):
        assert main(["split-captions", str(source), "--join", "--out", str(tmp_path / out)]) == 0
    first, second = read_records(tmp_path / "once/cap.jsonl")
    assert (first.id, first.turns[0].prompt) == ("0", "Prompt 0?")
    assert first.turns[0].answer == "a road . trees beside it ."
    assert first.targets == {"theme": "a road .", "objects": "", "relations": "trees beside it ."}
    assert second.id == "1"
    assert (tmp_path / "once/cap.jsonl").read_bytes() == (tmp_path / "twice/cap.jsonl").read_bytes()


def test_a_random_split_keeps_the_caption(tmp_path: Path) -> None:
    file = captions(tmp_path / "cap.jsonl", *((f"{n}.png", " ".join(WORDS)) for n in range(9)))
    outs = []
    for seed in ("0", "0", "1"):
        out = tmp_path / f"out{len(outs)}"
        assert main(["split-captions", str(file), "--random", "--seed", seed, "--out", str(out)]) == 0
        outs.append((out / "cap.jsonl").read_text())
    assert outs[0] == outs[1] != outs[2]
    targets: list[Any] = [record.targets for record in read_records(tmp_path / "out0/cap.jsonl")]
    assert len({tuple(parts.items()) for parts in targets}) > 3
    assert all(Counter(" ".join(parts.values()).split()) == Counter(WORDS) for parts in targets)


def test_references_stay_in_the_targets(tmp_path: Path) -> None:
    entry = line(0, "a.png", "cap", "Prompt?", "a road .", {"references": ["a road .", "grass ."]})
    file = tmp_path / "cap.jsonl"
    file.write_text(json.dumps(entry) + "\n")
    assert main(["split-captions", str(file), "--out", str(tmp_path / "out")]) == 0
    (record,) = read_records(tmp_path / "out/cap.jsonl")
    assert record.targets == {
        "references": ["a road .", "grass ."],
        "theme": "a road .",
        "objects": "",
        "relations": "",
    }
    for source, out in ((file, "once"), (tmp_path / "once/cap.jsonl", "twice")):
        assert main(["split-captions", str(source), "--join", "--out", str(tmp_path / out)]) == 0
        (record,) = read_records(tmp_path / out / "cap.jsonl")
        assert record.turns[0].answer == "a road . grass ."
        assert record.targets["references"] == ["a road . grass ."]


def test_what_is_no_caption_is_refused_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wordless = captions(tmp_path / "cap.jsonl", ("a.png", "a road ."), ("b.png", "..."))
    questions = captions(tmp_path / "vqa.jsonl", ("a.png", "yes"), task="vqa")
    for file, message in (
        (wordless, "record 1: the caption '...' has no word"),
        (questions, "record 0: 1 turn"),
    ):
        assert main(["split-captions", str(file), "--out", str(tmp_path / "out")]) == 2
        assert capsys.readouterr().err.startswith(f"error: {message}")
    assert not list((tmp_path / "out").iterdir())
    assert main(["split-captions", str(wordless), "--out", str(tmp_path)]) == 2
    assert "would overwrite" in capsys.readouterr().err
