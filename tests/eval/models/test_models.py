"""Which model a name and its options mean, and on which device it runs."""

import pytest
import torch

from eval import models, run_benchmark
from eval.models import Dialect
from rsunivlm.tasks import Task


def test_our_checkpoints_need_no_dialect():
    assert Dialect.given(None, list(Task), None, None) is None
    assert Dialect.given("runs/my/stage2", list(Task), None, None) is None


def test_the_space_of_boxes_is_asked_for_only_where_there_are_boxes():
    assert Dialect.given("hf:a/b", [Task.VQA, Task.SS], None, None).coordinates is None
    assert Dialect.given("hf:a/b", [Task.VQA], None, None).style.name == "plain"
    for task in (Task.VG, Task.REG):
        with pytest.raises(ValueError, match=f"task {task} is about boxes: say with --coordinates"):
            Dialect.given("hf:a/b", [Task.VQA, task], None, None)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--coordinates", "unit100"], "--coordinates is for --model hf:"),
        (["--model", "some/where", "--prompt-style", "plain"], "--prompt-style is for --model hf:"),
        (["--model", "hf:a/b"], "task vg is about boxes"),
        (
            ["--model", "hf:a/b", "--coordinates", "unit1", "--constrained"],
            "--constrained is for checkpoints",
        ),
        (["--model", "hf:a/b", "--coordinates", "inches"], "argument --coordinates: invalid choice"),
        (["--model", "hf:a/b", "--coordinates", "unit1", "--prompt-style", "rude"], "--prompt-style rude"),
        (["--model", "hf:./nowhere", "--coordinates", "unit1"], "no model folder ./nowhere"),
    ],
)
def test_wrong_options(argv, message, tiny, tmp_path, capsys):
    start = ["--task", "vg", "--benchmark", str(tiny), "--out", str(tmp_path / "o"), "--device", "cpu"]
    try:
        code = run_benchmark.main([*start, *argv])
    except SystemExit as stop:  # argparse's own refusals
        code = stop.code
    err = capsys.readouterr().err
    assert code == 2
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(("local_rank", "gpu"), [("0", 0), ("1", 1), ("2", 0)])
def test_each_process_takes_its_own_gpu(monkeypatch, local_rank, gpu):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", local_rank)
    assert models._device(None) == torch.device("cuda", gpu)
    assert models._device("cpu") == torch.device("cpu")


def test_without_a_gpu_the_library_chooses(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert models._device(None) is None
