"""`rsunivlm trim`: what it writes loads and answers, and nothing half-written stays."""

from __future__ import annotations

import json

import pytest
import torch

from rsunivlm.cli import main
from rsunivlm.inference.loading import load_checkpoint
from rsunivlm.models.counts import count_parameters

pytestmark = pytest.mark.usefixtures("int8_processor")

WAYS = {
    "expert": ["--expert", "region"],
    "average": ["--average", "--shares", "1,1,2"],
    "rank": ["--low-rank", "4"],
    "int8": ["--int8"],
    "expert int8": ["--expert", "pixel", "--int8"],
}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_written_loads(tiny_checkpoint, tmp_path, capsys, way: str) -> None:
    out = tmp_path / "small"
    assert main(["trim", str(tiny_checkpoint), str(out), *WAYS[way], "--json"]) == 0
    sizes = json.loads(capsys.readouterr().out.splitlines()[-1])
    before = (tiny_checkpoint / "model.safetensors").stat().st_size
    assert sizes["bytes"] == (out / "model.safetensors").stat().st_size < before
    model, processor = load_checkpoint(out, device="cpu", dtype="auto")
    counts = count_parameters(model.config)
    assert (sizes["stored"], sizes["active"]) == (counts.stored, counts.active)
    assert model.config.num_experts == (1 if "expert" in way or way == "average" else 3)
    assert model.config.int8_weights == ("int8" in way)
    assert processor.num_image_tokens == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "small"]


def test_int8_is_the_same_made_before_or_while_loading(tiny_checkpoint, tmp_path) -> None:
    assert main(["trim", str(tiny_checkpoint), str(tmp_path / "small"), "--int8"]) == 0
    stored, _ = load_checkpoint(tmp_path / "small", device="cpu")
    made, _ = load_checkpoint(tiny_checkpoint, device="cpu", int8=True)
    theirs = dict(made.named_parameters())
    assert all(torch.equal(parameter, theirs[name]) for name, parameter in stored.named_parameters())


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "say what to do"),
        (["--expert", "image", "--average"], "exclude each other"),
        (["--low-rank", "2", "--int8"], "not for --low-rank"),
        (["--shares", "1,1,1", "--int8"], "--shares is for --average"),
        (["--average", "--shares", "1,x"], "numbers such as"),
        (["--average", "--shares", "1,1"], "weights must be 3 numbers"),
        (["--low-rank", "65"], "rank must be in 1..64"),
    ],
)
def test_bad_requests_leave_nothing(tiny_checkpoint, tmp_path, capsys, arguments, reason: str) -> None:
    assert main(["trim", str(tiny_checkpoint), str(tmp_path / "small"), *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert reason in error
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_folders_that_are_there_or_nowhere_are_refused(tiny_checkpoint, tmp_path, capsys) -> None:
    for out, reason in ((tiny_checkpoint, "exists already"), (tmp_path / "no" / "where", "does not exist")):
        assert main(["trim", str(tiny_checkpoint), str(out), "--int8"]) == 2
        assert reason in capsys.readouterr().err
    assert main(["trim", str(tmp_path / "absent"), str(tmp_path / "small"), "--int8"]) == 2
    assert "no checkpoint folder" in capsys.readouterr().err


def test_int8_weights_are_not_worked_on(tiny_checkpoint, tmp_path, capsys) -> None:
    assert main(["trim", str(tiny_checkpoint), str(tmp_path / "small"), "--int8"]) == 0
    for arguments in (["--int8"], ["--average"]):
        assert main(["trim", str(tmp_path / "small"), str(tmp_path / "smaller"), *arguments]) == 2
        assert "needs float weights" in capsys.readouterr().err
