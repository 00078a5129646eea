"""Scoring again from predictions alone: the same bytes, other protocols, no torch, and every refusal."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from eval import benchmarks, rescore, vg
from eval.generation import predict
from eval.options import given_protocol
from eval.predictions import questions_hash, write_predictions
from eval.runs import read_run
from eval.scoring import score
from eval.tasks import task_module
from rsunivlm.tasks import Task

ALL_FILES = ["predictions.jsonl", "preview.png", "report.html", "results.json"]


@pytest.fixture
def again(capsys):
    """Run rescore.py; returns exit code, stdout lines and stderr."""

    def start(*argv):
        try:
            code = rescore.main([str(item) for item in argv])
        except SystemExit as stop:  # argparse's own refusals
            code = stop.code
        captured = capsys.readouterr()
        return code, captured.out.splitlines(), captured.err

    return start


@pytest.fixture
def done(run_tiny, oracle, fake_predictor, tmp_path):
    """A finished run with answers good and bad."""
    noisy = fake_predictor(lambda prompt: oracle.text_of(prompt).replace("4", "5"))
    return run_tiny(noisy, tmp_path / "out", "--seed", 3)


def test_the_same_protocol_gives_the_same_bytes(again, done, tmp_path):
    code, lines, _ = again(done, "--out", tmp_path / "again")
    assert code == 0
    for name in ALL_FILES:
        assert (tmp_path / "again" / name).read_bytes() == (done / name).read_bytes(), name
    results = json.loads((done / "results.json").read_text())
    last = json.loads(lines[-1])
    assert last["acc@0.5"][0] == results["metrics"]["acc@0.5"]["value"]
    assert (last["n"], last["protocol"], last["out"]) == (14, "strict", str(tmp_path / "again"))


def test_another_protocol(again, done):
    assert again(done, "--protocol", "paper", "--no-strict-threshold")[0] == 0
    out = done / "rescored"
    results = json.loads((out / "results.json").read_text())
    protocol = {"name": "paper", "iou": "pixel_plus1", "strict_threshold": False, "dedup_image": False}
    assert results["protocol"] == protocol
    assert results["metrics"] == score(vg, read_run(done).predictions, protocol, seed=3)["metrics"]
    strict = json.loads((done / "results.json").read_text())
    assert results["metrics"] != strict["metrics"]
    assert results["questions_sha256"] == strict["questions_sha256"]
    # Scores of single questions follow the protocol too.
    assert read_run(out).predictions[0].score != read_run(done).predictions[0].score
    assert "pixel_plus1" in (out / "report.html").read_text()


def test_a_predictions_file_alone_is_enough(again, done, tmp_path):
    alone = tmp_path / "alone.jsonl"
    alone.write_bytes((done / "predictions.jsonl").read_bytes())
    code, _, _ = again(alone, "--out", tmp_path / "o")
    assert code == 0
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == [
        name for name in ALL_FILES if name != "preview.png"
    ]
    results = json.loads((tmp_path / "o" / "results.json").read_text())
    before = json.loads((done / "results.json").read_text())
    values = [{name: cell["value"] for name, cell in each["metrics"].items()} for each in (results, before)]
    assert values[0] == values[1]
    assert any("predictions file alone" in note for note in results["notes"])
    code, _, _ = again(alone, "--out", tmp_path / "p", "--data", tmp_path / "tiny")
    assert code == 0
    assert (tmp_path / "p" / "preview.png").is_file()


def test_images_that_moved_away(again, done, tmp_path):
    (tmp_path / "tiny").rename(tmp_path / "moved")
    code, _, _ = again(done, "--out", tmp_path / "o")
    assert code == 0
    assert "no pictures" in (tmp_path / "o" / "report.html").read_text()
    code, _, _ = again(done, "--out", tmp_path / "o", "--data", tmp_path / "moved")
    assert code == 0
    assert (tmp_path / "o" / "preview.png").read_bytes() == (done / "preview.png").read_bytes()


def test_hash_of_the_questions(again, done, tmp_path):
    known = questions_hash(read_run(done).predictions)
    assert again(done, "--expect-hash", known)[0] == 0
    assert again(done, "--expect-hash", known[:12].upper())[0] == 0
    code, lines, err = again(done, "--expect-hash", "0123456789", "--out", tmp_path / "no")
    assert (code, lines) == (2, [])
    assert err.startswith("error: ")
    assert f"answers to other questions: their SHA-256 is {known}, not 0123456789" in err
    assert not (tmp_path / "no").exists()


def test_questions_of_the_benchmark_itself(again, fake_predictor, tmp_path):
    """Predictions that name the right benchmark, but answer another version of it."""
    questions = benchmarks.load("mini", Task.VG, vg, None, None)
    predictor = fake_predictor(lambda prompt: "[10, 20, 30, 40]")
    file = tmp_path / "p.jsonl"
    rows = predict(predictor, questions, vg, range(5), tmp_path / "journals").predictions
    write_predictions(file, rows)
    assert again(file, "--benchmark", "mini", "--out", tmp_path / "o")[0] == 0
    code, _, err = again(file, "--benchmark", "dior_rsvg")
    assert (code, "benchmark mini, not dior_rsvg" in err) == (2, True)
    text = file.read_text()
    file.write_text(text.replace(rows[3].prompt, "[VG] something else"))
    code, _, err = again(file, "--benchmark", "mini")
    assert code == 2
    assert f"p.jsonl:4: {rows[3].id!r} is not a question of mini" in err


@pytest.mark.parametrize(
    ("content", "argv", "message"),
    [
        (b"", (), "is empty: it holds no prediction"),
        (b"CUT", (), "predictions.jsonl:14: not JSON"),
        (None, ("--match", "lhrs"), "--match does not apply to this task; its switches: --iou"),
        (None, ("--iou", "giou"), "argument --iou: invalid choice: 'giou'"),
        (None, ("--expect-hash", "abc"), "--expect-hash needs at least 8 digits"),
        (None, ("--benchmark", "nope"), "unknown benchmark 'nope'; known: mini"),
        (None, ("--data", "nowhere"), "no such data folder: nowhere"),
    ],
)
def test_bad_input(again, done, content, argv, message):
    if content is not None:
        file = done / "predictions.jsonl"
        file.write_bytes(file.read_bytes()[:-30] if content == b"CUT" else content)
    code, lines, err = again(done, *argv)
    assert (code, lines) == (2, [])
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert not (done / "rescored").exists()


def test_missing_file(again, tmp_path):
    code, _, err = again(tmp_path / "none.jsonl")
    assert (code, err) == (2, f"error: no such predictions file: {tmp_path / 'none.jsonl'}\n")


def test_runs_as_a_script_without_torch(done, tmp_path):
    """All task modules are imported for their switches, and none may need a model."""
    script = Path(rescore.__file__)
    code = (
        "import runpy, sys\n"
        f"sys.argv = [{str(script)!r}, {str(done)!r}, '--out', {str(tmp_path / 'o')!r}]\n"
        "try:\n"
        f"    runpy.run_path({str(script)!r}, run_name='__main__')\n"
        "except SystemExit as stop:\n"
        "    assert stop.code == 0, stop.code\n"
        "heavy = {'torch', 'torchvision', 'transformers', 'timm', 'pycocoevalcap', 'sklearn'}\n"
        "print(sorted(heavy & sys.modules.keys()))\n"
    )
    finished = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert finished.stderr == ""
    assert finished.stdout.splitlines()[-1] == "[]"
    assert (tmp_path / "o" / "results.json").read_bytes() == (done / "results.json").read_bytes()


@pytest.mark.parametrize(
    ("task", "argv", "expected"),
    [
        ("vqa", ["--match", "lhrs"], {"match": "lhrs"}),
        ("cc", ["--cc-norm", "raw"], {"cc_norm": "raw"}),
        ("cd", ["--changed-only"], {"changed_only": True}),
        ("ss", ["--protocol", "paper"], {"composition": "fixed_order", "background": True}),
    ],
)
def test_switches_of_every_task_are_options(task, argv, expected):
    given = rescore.build_parser().parse_args(["x", *argv])
    assert given_protocol(given, task_module(task)[1]).items() >= expected.items()
