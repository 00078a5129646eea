"""Numbers that are not finite, images that cannot be read, processes that end: the run stops and says why."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from rsunivlm.data.collation import BatchInfo
from rsunivlm.data.records import Record, Turn, read_records, write_records
from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration
from rsunivlm.tasks import Task
from rsunivlm.training import run
from rsunivlm.training.guards import FiniteGuard
from rsunivlm.training.recipe import load_recipe
from rsunivlm.training.trainer import RSUniVLMTrainer

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def train(toy_recipe, tmp_path: Path) -> Callable[..., Path]:
    """Trains stage 1 for four steps of four samples."""

    def run_it(name: str = "out", **settings: Any) -> Path:
        overrides = {"output": tmp_path / name, "max_steps": 4, "max_length": 600, **settings}
        return run.train(load_recipe(toy_recipe(), 1, {k: str(v) for k, v in overrides.items()}))

    return run_it


def info(*names: str, supervised: tuple[int, ...]) -> BatchInfo:
    return BatchInfo(names, ("vg",) * len(names), (9,) * len(names), supervised, ())


def test_a_loss_that_is_not_finite_is_named_by_step_and_sample() -> None:
    guard = FiniteGuard(rank=0, processes=1)
    guard.add(info("a 1", "a 2", supervised=(2, 1)), torch.tensor([0.5, 0.1, 2.0]))
    guard.check_losses(7)
    guard.add(info("b 1", "b 2", "b 3", supervised=(1, 2, 1)), torch.tensor([1.0, 0.3, float("nan"), 1.0]))
    guard.add(info("c 1", supervised=(1,)), torch.tensor([float("inf")]))
    with pytest.raises(
        ValueError, match=r"step 7: the loss is not finite \(process 0: b 2, c 1\)\. The weights"
    ):
        guard.check_losses(7)


def test_a_gradient_that_is_not_finite_names_the_samples_of_its_step_only() -> None:
    guard = FiniteGuard(rank=0, processes=1)
    guard.add(info("a 1", supervised=(1,)), torch.ones(1))
    guard.check_gradient(torch.tensor(3.0), False, 1)
    guard.add(info(*(f"b {n}" for n in range(30)), supervised=(1,) * 30), torch.ones(30))
    with pytest.raises(
        ValueError, match=r"step 2: the gradient is not finite.*process 0: b 0, .*b 19 and 10 more"
    ):
        guard.check_gradient(torch.tensor(float("inf")), False, 2)
    with pytest.raises(ValueError, match="step 2: the gradient is not finite"):
        guard.check_gradient(1.0, True, 2)


@pytest.mark.parametrize("packing", ["true", "false"])
def test_a_poisoned_sample_stops_the_run_before_the_weights_change(
    train, toy_data: Path, monkeypatch: pytest.MonkeyPatch, packing: str
) -> None:
    """The last image of the third step holds a value that no arithmetic survives."""
    forward = RSUniVLMForConditionalGeneration.forward
    seen: list[int] = []

    def poisoned(model: Any, *arguments: Any, **inputs: Any) -> Any:
        seen.append(1)
        assert "info" not in inputs
        if len(seen) == 3:
            with torch.no_grad():
                inputs["pixel_values"] = inputs["pixel_values"].clone()
                inputs["pixel_values"][-1] = float("nan")
        return forward(model, *arguments, **inputs)

    steps: list[dict[str, torch.Tensor]] = []
    loss = RSUniVLMTrainer.compute_loss
    last: dict[str, Any] = {}

    def noting(trainer: RSUniVLMTrainer, model: Any, inputs: dict[str, Any], *rest: Any, **named: Any) -> Any:
        last.update(trainer=trainer, names=inputs["info"].names)
        steps.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return loss(trainer, model, inputs, *rest, **named)

    monkeypatch.setattr(RSUniVLMForConditionalGeneration, "forward", poisoned)
    monkeypatch.setattr(RSUniVLMTrainer, "compute_loss", noting)
    with pytest.raises(
        ValueError, match=r"step 3: the loss is not finite \(process 0: toy [\w-]+\)"
    ) as stopped:
        train(packing=packing, batch_size=1 if packing == "true" else 4, learning_rate="1e-3")
    assert last["names"][-1] in str(stopped.value)
    assert last["trainer"].state.global_step == 2
    assert all(tensor.equal(steps[-1][name]) for name, tensor in last["trainer"].model.state_dict().items())


def spoil(toy_data: Path) -> None:
    """The images of six of the sixteen records."""
    (toy_data / "red.png").write_bytes(b"no picture")
    (toy_data / "grey.png").unlink()


@pytest.mark.parametrize("packing", ["true", "false"])
def test_samples_with_bad_images_are_left_out_as_if_they_were_not_there(
    toy_recipe, toy_data: Path, train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packing: str
) -> None:
    batches: list[dict[str, Any]] = []
    loss = RSUniVLMTrainer.compute_loss

    def noting(trainer: RSUniVLMTrainer, model: Any, inputs: dict[str, Any], *rest: Any, **named: Any) -> Any:
        batches.append({**inputs, "items": named.get("num_items_in_batch")})
        return loss(trainer, model, inputs, *rest, **named)

    monkeypatch.setattr(RSUniVLMTrainer, "compute_loss", noting)
    settings = {"packing": packing, "batch_size": 2 if packing == "true" else 8, "max_steps": 2}
    train("whole", **settings)
    whole, batches[:] = list(batches), []
    spoil(toy_data)
    train("spoilt", max_bad_images=2, **settings)
    for before, after in zip(whole, batches, strict=True):
        good = [name for name in before["info"].names if not name.endswith(("-red", "-grey"))]
        assert list(after["info"].names) == good
        supervised = dict(zip(before["info"].names, before["info"].supervised, strict=True))
        assert after["items"] == sum(supervised[name] for name in good)
        shown = [(name.rpartition("-")[2], "change" in name) for name in good]
        if packing == "true":
            shown = list(set(shown))  # the row holds once what samples share
        assert len(after["pixel_values"]) == sum(1 + pair for _, pair in shown)
        assert {bad.image for bad in after["info"].bad} <= {"red.png", "grey.png"}
    listed = [json.loads(line) for line in (tmp_path / "spoilt.bad_images.jsonl").read_text().splitlines()]
    names = sorted(name for batch in whole for name in set(batch["info"].names))
    assert sorted({f"toy {entry['record']}" for entry in listed}) == sorted(
        {name for name in names if name.endswith(("-red", "-grey"))}
    )
    assert {entry["image"] for entry in listed} == {"red.png", "grey.png"}
    assert any(entry["reason"].startswith("not a readable image") for entry in listed)


def test_more_bad_images_than_allowed_stop_the_run(train, toy_data: Path, tmp_path: Path) -> None:
    spoil(toy_data)
    with pytest.raises(
        ValueError, match=r"2 images cannot be read, more than max_bad_images=1; .*raise max_bad"
    ):
        train(max_bad_images=1)
    listed = (tmp_path / "out.bad_images.jsonl").read_text()
    assert "red.png" in listed
    assert "grey.png" in listed


def test_what_was_left_out_stays_out_when_a_run_is_resumed(
    train, toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the images were mended in between: the resumed run ends as the undisturbed one."""
    mended = {name: (toy_data / name).read_bytes() for name in ("red.png", "grey.png")}
    spoil(toy_data)
    settings = {"max_bad_images": 3, "checkpoint_every": 2, "max_steps": 6}
    expected = load_file(train("undisturbed", **settings) / "model.safetensors")
    fetch = RSUniVLMTrainer.get_batch_samples

    def stopping(trainer: RSUniVLMTrainer, *arguments: Any) -> Any:
        if trainer.state.global_step == 5:
            raise KeyboardInterrupt
        return fetch(trainer, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(RSUniVLMTrainer, "get_batch_samples", stopping)
        with pytest.raises(KeyboardInterrupt):
            train("resumed", **settings)
    for name, content in mended.items():
        (toy_data / name).write_bytes(content)
    weights = load_file(train("resumed", **settings) / "model.safetensors")
    assert all(weights[name].equal(expected[name]) for name in expected)


def test_a_batch_of_bad_samples_alone_trains_nothing(toy_data: Path, train, tmp_path: Path) -> None:
    records = [
        Record(f"bad {n}", ("red.png",), (Turn("[VQA] Which colour?", "red"),), Task.VQA) for n in range(4)
    ]
    spoil(toy_data)
    write_records(toy_data / "train.jsonl", records)
    before = load_file(
        train("none", max_steps=1, learning_rate="1e-12", max_bad_images=1) / "model.safetensors"
    )
    after = load_file(
        train("some", max_steps=3, learning_rate="1e-2", max_bad_images=1) / "model.safetensors"
    )
    assert all(after[name].equal(before[name]) for name in before)
    assert json.loads((tmp_path / "some/training.json").read_text())["loss"]["last"] == 0


@pytest.mark.parametrize("bad_images", [0, 2])
def test_bad_images_and_computed_features(
    toy_recipe, toy_data: Path, tiny_checkpoint: Path, tmp_path: Path, bad_images: int
) -> None:
    spoil(toy_data)
    settings = {"feature_cache": tmp_path / "cache", "init_from": tiny_checkpoint, "output": tmp_path / "out"}
    settings |= {"max_bad_images": bad_images, "max_steps": 4}
    recipe = load_recipe(toy_recipe(), 2, {key: str(value) for key, value in settings.items()})
    if not bad_images:
        with pytest.raises(ValueError, match=r"(red|grey)\.png"):
            run.train(recipe)
        return
    run.train(recipe)
    listed = [json.loads(line) for line in (tmp_path / "out.bad_images.jsonl").read_text().splitlines()]
    spoilt = {
        record.id
        for record in read_records(toy_data / "train.jsonl")
        if record.id.endswith(("-red", "-grey"))
    }
    assert {entry["record"] for entry in listed} == spoilt


# Two processes, as a launcher starts them.


def launch(tmp_path: Path, *settings: str, stage: int = 1) -> subprocess.Popen[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    launcher = [
        "deepspeed",
        "--num_gpus",
        "2",
        "--master_port",
        str(port),
        str(SCRIPTS / f"train_stage{stage}.sh"),
    ]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.Popen(
        [*launcher, *settings],
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str]) -> str:
    try:
        output, _ = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return output


needs_deepspeed = pytest.mark.skipif(
    shutil.which("deepspeed", path=str(Path(sys.executable).parent)) is None,
    reason="deepspeed is not installed; it comes with the extra [train]",
)


@needs_deepspeed
@pytest.mark.distributed
@pytest.mark.parametrize("mistake", ["a bad image in one process", "a mistake that both meet"])
def test_the_error_of_a_process_ends_all_and_is_said_once(
    toy_recipe, toy_data: Path, tmp_path: Path, mistake: str
) -> None:
    settings = [str(toy_recipe()), "batch_size=1", "output=out", f"deepspeed={SCRIPTS / 'zero2.json'}"]
    if mistake == "a bad image in one process":
        # The second process has every second sample.
        overrides = {"batch_size": "1", "output": "out"}
        recipe = load_recipe(toy_recipe(), 1, overrides)
        mixture = run.load_mixture(recipe)
        record = mixture.datasets[0].records[int(mixture.plan(0)[1, 1])]
        records = [
            Record(r.id, ("gone.png",) * len(r.images), r.turns, r.task) if r.id == record.id else r
            for r in read_records(toy_data / "train.jsonl")
        ]
        write_records(toy_data / "train.jsonl", records)
        expected = f"error: dataset toy, record {record.id}: no such image file:"
    else:
        settings.append("max_length=20")
        expected = "error: 6 record(s) are longer than max_length=20"
    process = launch(tmp_path, *settings)
    output = ended(process)
    errors = [line for line in output.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, output[-4000:]
    assert errors[0].startswith(expected)
    assert process.returncode not in (0, -signal.SIGKILL)
    assert "Connection closed by peer" not in output
    assert not (tmp_path / "out").exists()


@needs_deepspeed
@pytest.mark.distributed
def test_a_loss_that_is_not_finite_in_one_process_stops_both(
    toy_recipe, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """The embeddings of an image in the second process's first sample are spoilt on disk."""
    path = toy_recipe(max_steps=2, feature_cache=str(tmp_path / "cache"), seed=1)
    common = {"init_from": str(tiny_checkpoint)}
    recipe = load_recipe(path, 2, {**common, "batch_size": "2", "output": str(tmp_path / "whole")})
    run.train(recipe)
    mixture = run.load_mixture(recipe)
    records = [mixture.datasets[0].records[int(index)] for index in mixture.plan(0)[:4, 1]]
    images = list(dict.fromkeys(image for record in records for image in record.images))
    assert not set(records[0].images) & set(records[1].images)
    (file,) = (tmp_path / "cache").glob("*.bin")
    values = np.memmap(file, np.uint16, "r+").reshape(len(images), -1)
    values[images.index(records[1].images[0])] = 0x7FC0  # not a number, in bfloat16
    values.flush()
    settings = [f"{key}={value}" for key, value in common.items()]
    settings += ["batch_size=1", "output=out", f"deepspeed={SCRIPTS / 'zero2.json'}"]
    process = launch(tmp_path, str(path), *settings, stage=2)
    output = ended(process)
    errors = [line for line in output.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, output[-4000:]
    expected = f"error: step 1: the loss is not finite (process 1: toy {records[1].id}). The weights were not"
    assert errors[0].startswith(expected)
    assert process.returncode == 2
    assert not (tmp_path / "out").exists()


@needs_deepspeed
@pytest.mark.distributed
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the process by Linux's /proc")
def test_a_process_that_is_killed_ends_the_run(toy_recipe, tmp_path: Path) -> None:
    process = launch(
        tmp_path, str(toy_recipe()), "output=out", "max_steps=100000", "save_every=1", "epochs=1"
    )
    deadline = time.monotonic() + 300
    while not (tmp_path / "out").exists():
        assert process.poll() is None, process.stdout.read()[-4000:]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    ranks = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
                environment = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if str(tmp_path / "toy.yaml").encode() in command and b"RANK=1" in environment:
                ranks.append(int(entry.name))
    (rank,) = ranks
    os.kill(rank, signal.SIGKILL)
    output = ended(process)
    assert process.returncode != 0
    assert "exits with return code = -9" in output or "SIGKILL" in output, output[-3000:]
