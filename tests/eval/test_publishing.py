"""The files of a run: all or none, and of one run."""

import hashlib
import json

import pytest

from eval import publishing, vg
from eval.publishing import publish, write_whole
from eval.runs import read_run

FILES = ["predictions.jsonl", "preview.png", "report.html", "results.json"]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def load(out):
    return json.loads((out / "results.json").read_text())


def test_everything_is_there_and_of_one_run(run_tiny, oracle, tmp_path):
    out = run_tiny(oracle, tmp_path / "deep" / "out")
    assert names(out) == FILES
    digest = hashlib.sha256((out / "predictions.jsonl").read_bytes()).hexdigest()
    assert load(out)["predictions_sha256"] == digest
    report = (out / "report.html").read_text()
    assert digest in report
    assert report.count("data:image/jpeg;base64,") == 12
    assert len(report) < 1_500_000


def test_without_images_there_is_no_picture_and_an_old_one_goes(run_tiny, oracle, tmp_path):
    out = run_tiny(oracle, tmp_path / "out")
    run = read_run(out)
    publish(out, vg, run.predictions, load(out), None)
    assert names(out) == [name for name in FILES if name != "preview.png"]
    assert "data:image" not in (out / "report.html").read_text()


@pytest.mark.parametrize("failing", ["write_predictions", "task_page", "draw_grid"])
def test_a_failure_leaves_what_was_there(run_tiny, oracle, tmp_path, monkeypatch, failing):
    out = run_tiny(oracle, tmp_path / "out")
    before = {name: (out / name).read_bytes() for name in FILES}
    run = read_run(out)

    def fail(*args):
        raise OSError("no space left")

    monkeypatch.setattr(publishing, failing, fail)
    with pytest.raises(OSError, match="no space"):
        publish(out, vg, run.predictions[:3], load(out), tmp_path / "tiny")
    assert {name: (out / name).read_bytes() for name in FILES} == before
    assert names(out) == FILES


def test_results_come_last(run_tiny, oracle, fake_predictor, tmp_path, monkeypatch):
    """A kill between two renames leaves results that do not claim the new predictions."""
    out = run_tiny(oracle, tmp_path / "out")
    other = read_run(run_tiny(fake_predictor(lambda prompt: "[1, 2, 3, 4]"), tmp_path / "other"))
    replace, done = publishing.os.replace, []

    def kill_before_results(source, target):
        if target.name == "results.json":
            raise KeyboardInterrupt
        done.append(target.name)
        replace(source, target)

    monkeypatch.setattr(publishing.os, "replace", kill_before_results)
    with pytest.raises(KeyboardInterrupt):
        publish(out, vg, other.predictions, load(out), None)
    assert done == ["predictions.jsonl", "report.html"]
    with pytest.raises(ValueError, match="written for other predictions"):
        read_run(out)


def test_write_whole(tmp_path):
    target = tmp_path / "new" / "file.json"
    write_whole(target, lambda path: path.write_text("whole"))
    assert target.read_text() == "whole"
    with pytest.raises(UnicodeEncodeError):
        write_whole(target, lambda path: path.write_text("\ud800", encoding="utf-8"))
    assert target.read_text() == "whole"
    assert names(target.parent) == ["file.json"]
