"""The whole run with a fake predictor, and every refusal: exit code 2, one line, nothing written."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from eval import run_benchmark, vg
from eval.predictions import read_predictions
from eval.scoring import score
from eval.tasks import protocol_of
from rsunivlm.tasks import Task


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line with a given predictor; returns exit code, stdout lines and stderr."""

    def start(predictor, *argv):
        monkeypatch.setattr(run_benchmark, "load_answerer", lambda *names: predictor)
        try:
            code = run_benchmark.main([str(item) for item in argv])
        except SystemExit as stop:  # argparse's own refusals
            code = stop.code
        captured = capsys.readouterr()
        return code, captured.out.splitlines(), captured.err

    return start


def test_end_to_end(run, tiny, oracle, tmp_path):
    out = tmp_path / "deep" / "out"
    code, lines, _ = run(oracle, "--task", "vg", "--benchmark", tiny, "--out", out, "--batch-size", 4)
    assert code == 0
    last = json.loads(lines[-1])
    assert (last["task"], last["benchmark"], last["n"], last["unparsable"]) == ("vg", "vg", 14, 0)
    assert last["acc@0.5"] == [1.0, 1.0, 1.0]
    assert any("acc@0.5" in line and "100.0 [100.0, 100.0]" in line for line in lines[:-1])
    assert sorted(path.name for path in out.iterdir()) == [
        "predictions.jsonl",
        "preview.png",
        "report.html",
        "results.json",
    ]
    assert oracle.batches == [4, 4, 4, 2]

    rows = read_predictions(out / "predictions.jsonl")
    results = json.loads((out / "results.json").read_text())
    assert [row.id for row in rows] == [f"q{number}" for number in range(14)]
    assert rows[0].route == {"granularity": "region", "source": "token"}
    assert rows[0].score["iou"] > 0.7
    assert results["metrics"] == score(vg, rows, protocol_of(vg, "strict", {}))["metrics"]
    assert (
        results["predictions_sha256"] == hashlib.sha256((out / "predictions.jsonl").read_bytes()).hexdigest()
    )
    assert set(results["definitions"]) == set(results["yardsticks"])
    with Image.open(out / "preview.png") as picture:
        assert min(picture.size) > 300


def test_output_does_not_depend_on_batch_size_and_limit_is_a_seeded_draw(run, tiny, oracle, tmp_path):
    base = ("--task", "vg", "--benchmark", tiny)
    for name, batch_size in (("a", 1), ("b", 5)):
        assert run(oracle, *base, "--out", tmp_path / name, "--batch-size", batch_size)[0] == 0
    for file in ("predictions.jsonl", "results.json", "report.html", "preview.png"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()

    drawn = {}
    for seed in (0, 0, 1):
        run(oracle, *base, "--out", tmp_path / "c", "--limit", 5, "--seed", seed)
        ids = [row.id for row in read_predictions(tmp_path / "c" / "predictions.jsonl")]
        assert drawn.setdefault(seed, ids) == ids
    assert len(drawn[0]) == 5
    assert drawn[0] != drawn[1]
    results = json.loads((tmp_path / "c" / "results.json").read_text())
    assert results["limit"] == {"asked": 5, "of": 14, "seed": 1}


def test_task_is_named_only_where_the_router_would_err(run, tiny, oracle, tmp_path):
    text = tiny.read_text().replace("[VG] the thing number 0", "caption of the ship")
    tiny.write_text(text)
    oracle.text_of = lambda prompt: "[1, 2, 30, 40]"
    assert run(oracle, "--task", "vg", "--benchmark", tiny, "--out", tmp_path / "o")[0] == 0
    assert [request.task for request in oracle.requests[:2]] == ["vg", None]
    sources = [row.route["source"] for row in read_predictions(tmp_path / "o" / "predictions.jsonl")]
    assert sources[:2] == ["explicit", "token"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--task", "dance"], "error: unknown task 'dance'"),
        ([], "error: the following arguments are required: --task"),
        (["--task", "vg", "--benchmark", "nope"], "error: unknown benchmark 'nope'; known: mini"),
        (["--task", "vg", "--batch-size", "0"], "error: --batch-size must be at least 1"),
        (["--task", "vg", "--limit", "0"], "error: --limit must be at least 1"),
        (["--task", "vg", "--iou", "giou"], "error: argument --iou: invalid choice: 'giou'"),
        (["--task", "vg", "--benchmark", "dior_rsvg"], "error: --data DIR is missing"),
        (["--task", "vg", "--tile", "64"], "error: --tile is for masks (ss, cd), not for task vg"),
        (["--task", "ss", "--cot"], "error: --cot is for change detection (cd), not for task ss"),
        (["--task", "ss", "--overlap", "64"], "error: --overlap needs --tile"),
        (
            ["--task", "ss", "--tile", "64", "--overlap", "64"],
            "error: --tile must be at least 1 and --overlap",
        ),
    ],
)
def test_bad_arguments(run, oracle, tmp_path, monkeypatch, argv, message):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    code, lines, err = run(oracle, *argv)
    assert (code, lines) == (2, [])
    assert err.startswith(message)
    assert err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_masks_end_to_end_in_tiles(run, scenes, mask_oracle, tmp_path):
    base = ("--task", "ss", "--benchmark", scenes / "ss.jsonl", "--tile", 8, "--overlap", 2)
    code, lines, _ = run(mask_oracle(), *base, "--out", tmp_path / "o", "--protocol", "paper")
    assert code == 0
    last = json.loads(lines[-1])
    assert (last["n"], last["unparsable"], last["mIoU"]) == (20, 0, [1.0, 1.0, 1.0])
    assert last["yardsticks"]["codec_ceiling"] == 1 > last["yardsticks"]["whole_image_ceiling"]
    results = json.loads((tmp_path / "o" / "results.json").read_text())
    assert results["model"]["tiling"] == {"tile": 8, "overlap": 2}
    assert results["protocol"]["composition"] == "fixed_order"


def test_all_tasks_in_one_report(run, fake_predictor, no_java, tmp_path):
    predictor = fake_predictor(lambda prompt: "yes")
    code, lines, _ = run(predictor, "--task", "all", "--limit", 2, "--out", tmp_path / "o")
    assert code == 0
    last = json.loads(lines[-1])
    tasks = [line["task"] for line in last["tasks"]]
    assert tasks == ["sc", "vqa", "cap", "vg", "reg", "ss", "cc", "cd"]
    report = (tmp_path / "o" / "report.html").read_text()
    assert all(f'<h1 id="{task}">' in report for task in tasks)
    assert report.count("data:image/jpeg;base64,") >= len(tasks)
    assert all((tmp_path / "o" / task / "report.html").is_file() for task in tasks)
    assert not list((tmp_path / "o").rglob(".*"))


def test_all_tasks_are_those_that_the_model_answers(run, fake_predictor, no_java, tmp_path):
    predictor = fake_predictor(lambda prompt: "yes")
    predictor.tasks = (Task.CAP, Task.VQA)
    code, lines, _ = run(predictor, "--task", "all", "--limit", 2, "--out", tmp_path / "o")
    assert code == 0
    assert [line["task"] for line in json.loads(lines[-1])["tasks"]] == ["vqa", "cap"]
    predictor.tasks = ()
    assert run(predictor, "--task", "all", "--limit", 2, "--out", tmp_path / "none")[0] == 2


def test_bad_images_stop_the_run_and_leave_nothing(run, tiny, oracle, tmp_path):
    out = tmp_path / "out"
    argv = ("--task", "vg", "--benchmark", tiny, "--out", out, "--batch-size", 2)
    image = tiny.parent / "images/5.png"
    Image.new("RGB", (50, 50)).save(image)
    code, _, err = run(oracle, *argv)
    assert code == 2
    assert "q10" in err
    assert "[50, 50]" in err
    image.write_bytes(b"")
    code, _, err = run(oracle, *argv)
    assert code == 2
    assert "5.png" in err
    assert not out.exists()


def test_out_must_be_a_folder_and_foreign_files_in_it_stay(run, tiny, oracle, tmp_path):
    (tmp_path / "file").write_text("x")
    code, _, err = run(oracle, "--task", "vg", "--benchmark", tiny, "--out", tmp_path / "file")
    assert code == 2
    assert "is a file" in err
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    (out / "results.json").write_text("old")
    assert run(oracle, "--task", "vg", "--benchmark", tiny, "--out", out)[0] == 0
    assert (out / "notes.txt").read_text() == "mine"
    assert json.loads((out / "results.json").read_text())["n"] == 14


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--model", "EMPTY"], "config.json"),
        (["--model", "EMPTY", "--device", "abacus"], "cannot use --device abacus"),
    ],
)
def test_bad_model_or_device(tiny, tmp_path, capsys, argv, message):
    (tmp_path / "empty").mkdir()
    argv = [str(tmp_path / "empty") if item == "EMPTY" else item for item in argv]
    code = run_benchmark.main(["--task", "vg", "--benchmark", str(tiny), "--out", str(tmp_path / "o"), *argv])
    err = capsys.readouterr().err
    assert code == 2
    assert err.startswith("error: ")
    assert message in err
    assert not (tmp_path / "o").exists()


def test_real_predictor(tiny, tiny_checkpoint, tmp_path, capsys):
    argv = [
        "--task",
        "vg",
        "--benchmark",
        tiny,
        "--model",
        tiny_checkpoint,
        "--limit",
        3,
        "--out",
        tmp_path / "o",
    ]
    assert run_benchmark.main([str(item) for item in (*argv, "--device", "cpu", "--dtype", "float32")]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["n"], last["model"]) == (3, str(tiny_checkpoint))
    assert 0 <= last["unparsable"] <= 3


def test_runs_as_a_script_from_anywhere(tmp_path):
    # An empty environment: nothing but the script itself may say where the packages are.
    script = Path(run_benchmark.__file__)
    done = subprocess.run(
        [sys.executable, script, "--task", "vg", "--benchmark", "nope"],
        cwd=tmp_path,
        env={},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: unknown benchmark 'nope'")
    assert done.stdout == ""
