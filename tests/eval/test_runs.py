"""Runs on disk: what is damaged, mixed or of other predictions is refused."""

import json

import pytest

from eval.runs import UNKNOWN, read_run


@pytest.fixture
def done(run_tiny, oracle, tmp_path):
    return run_tiny(oracle, tmp_path / "out")


def rewrite(path, change):
    """Rewrite the predictions line by line, without the results beside them."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(change(number, row)) + "\n" for number, row in enumerate(rows)))
    (path.parent / "results.json").unlink()


def test_folder_and_file_are_the_same_run(done):
    run = read_run(done)
    assert run == read_run(done / "predictions.jsonl")
    assert run.task == "vg"
    assert len(run.predictions) == 14
    assert run.background.available == 14
    assert "codec_ceiling" in run.background.definitions
    assert (run.background.image_root / run.predictions[0].images[0]).is_file()


def test_predictions_alone_are_enough(done):
    (done / "results.json").unlink()
    assert read_run(done).background == UNKNOWN


@pytest.mark.parametrize(
    ("number", "change", "message"),
    [
        (3, {"task": "sc"}, r"predictions\.jsonl:4: task 'sc', but the lines above are of 'vg'"),
        (3, {"benchmark": "x"}, r":4: benchmark 'x'"),
        (3, {"yardsticks": {}}, r":4: other yardsticks"),
        (3, {"parsed": {"text": "x"}}, r":4: an answer to task vg needs 'boxes_px'"),
        (3, {"id": "q0"}, r"answers a question twice"),
        (0, {"task": "dance"}, r"unknown task 'dance'"),
    ],
)
def test_mixed_files(done, number, change, message):
    rewrite(done / "predictions.jsonl", lambda at, row: row | (change if at == number else {}))
    with pytest.raises(ValueError, match=message):
        read_run(done)


def test_results_of_other_predictions(done):
    file = done / "predictions.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))  # cut off between two lines
    with pytest.raises(ValueError, match="written for other predictions"):
        read_run(done)
    (done / "results.json").write_text("{}")
    with pytest.raises(ValueError, match="no result of this version"):
        read_run(done)
