"""The predictions file: nothing is lost in it, and a damaged one is refused."""

from dataclasses import replace

import pytest

from eval.predictions import Prediction, questions_hash, read_predictions, write_predictions

ROW = Prediction(
    id="ü1",
    benchmark="b",
    split="test",
    task="vg",
    images=("a.png",),
    image_size=(100, 80),
    prompt="[VG] the “red” car\nleft",
    answer="[1, 2, 3",
    parsed={"boxes_px": []},
    truth={"boxes_px": [[0.1 + 0.2, 1 / 3, 50.0, 60.0]]},
    yardsticks={"centre box": {"boxes_px": [[25.0, 20.0, 75.0, 60.0]]}},
    report={"found": 1, "dropped": 1},
    route={"granularity": "region", "source": "token"},
    decoder={"strategy": "greedy"},
    model={"id": "nano"},
    score={"iou": 0.0},
)


def test_round_trip_is_exact(tmp_path):
    path = tmp_path / "p.jsonl"
    rows = [ROW, replace(ROW, id="2", answer="")]
    write_predictions(path, rows)
    assert len(path.read_text(encoding="utf-8").splitlines()) == 2
    assert read_predictions(path) == rows


def test_damaged_files_are_refused_with_file_and_line(tmp_path):
    path = tmp_path / "p.jsonl"
    write_predictions(path, [ROW, ROW])
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole[:-20], encoding="utf-8")
    with pytest.raises(ValueError, match=r"p\.jsonl:2: not JSON"):
        read_predictions(path)
    path.write_text(whole.replace('"truth"', '"ground"', 1), encoding="utf-8")
    with pytest.raises(ValueError, match=r"p\.jsonl:1.*missing \['truth'\], unknown \['ground'\]"):
        read_predictions(path)


def test_hash_names_the_questions_not_the_answers():
    same = replace(ROW, answer="other", parsed={"boxes_px": [[1, 2, 3, 4]]}, model={"id": "else"})
    assert questions_hash([same]) == questions_hash([ROW])
    assert questions_hash([replace(ROW, prompt="[VG] it")]) != questions_hash([ROW])
    assert questions_hash([replace(ROW, truth={"boxes_px": [[0, 0, 1, 1]]})]) != questions_hash([ROW])
