"""What a run logs: the loss of each task by hand-worked values, speed, and where it goes."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rsunivlm.data.collation import BatchInfo
from rsunivlm.training import family_rsunivlm, metrics, run
from rsunivlm.training.metrics import TrainingFlops, TrainingMeter
from rsunivlm.training.recipe import load_recipe
from rsunivlm.training.stages import prepare_stage


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(metrics.time, "perf_counter", lambda: now[0])
    return now


def test_figures_between_two_reports(clock: list[float]) -> None:
    flops = TrainingFlops(per_token=10.0, per_image=1000.0, per_target=7.0)
    meter = TrainingMeter(flops, torch.device("cpu"), peak=1e4)
    meter.add(
        BatchInfo(("a", "b", "c"), ("vg", "ss", "vg"), (20, 30, 50), (2, 1, 1), ()),
        torch.tensor([1.0, 2.0, 5.0, 6.0]),
        num_images=3,
    )
    meter.add(BatchInfo(("d",), ("ss",), (100,), (3,), ()), torch.tensor([1.0, 2.0, 0.0]), num_images=0)
    meter.waited(0.5)
    clock[0] += 4
    report = meter.report(2, lambda figures: 2 * figures)  # another process has done the same
    assert report == {
        "loss/vg": pytest.approx((1 + 2 + 6) / 3),
        "loss/ss": pytest.approx((5 + 1 + 2 + 0) / 4),
        "samples_per_second": 2 * 4 / 4,
        "tokens_per_second": 2 * 200 / 4,
        "data_wait": 0.5 / 4,
        "mfu": pytest.approx((200 * 10 + 3 * 1000 + 7 * 7) / 4 / 1e4),
    }
    clock[0] += 1
    assert meter.report(1, lambda figures: figures)["samples_per_second"] == 0


@pytest.mark.parametrize("stage", [1, 2])
def test_operations_follow_from_the_parameters(make_tiny_model, stage: int) -> None:
    model = prepare_stage(make_tiny_model(num_experts=1 if stage == 1 else 3), stage)
    layers = model.model.language_model.layers
    expert = sum(p.numel() for layer in layers for p in layer.mlp.parameters()) / (1 if stage == 1 else 3)
    rest = sum(p.numel() for p in layers.parameters()) - expert * (1 if stage == 1 else 3)
    flops = TrainingFlops.of(model)
    last = 6 * expert / len(layers)  # computed for supervised tokens only
    assert flops.per_token == pytest.approx(6 * expert + (6 if stage == 1 else 4) * rest - last)
    head = (6 if stage == 1 else 4) * model.lm_head.weight.numel()
    assert flops.per_target == pytest.approx(head + last)
    sight = [*model.model.vision_tower.parameters(), *model.model.multi_modal_projector.parameters()]
    unused = sum(p.numel() for p in model.model.vision_tower.parameters() if not p.requires_grad)
    expected = (
        2 * sum(p.numel() for p in sight) if stage == 2 else 6 * sum(p.numel() for p in sight) - 2 * unused
    )
    assert flops.per_image == 4 * expected


def test_peaks_are_known_by_name_or_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda")
    for name, peak in (
        ("NVIDIA H200", 989e12),
        ("NVIDIA A40", 149.7e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("x", None),
    ):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _, name=name: name)
        assert metrics.peak_flops(cuda, bf16=True) == peak
    assert metrics.peak_flops(cuda, bf16=False) is None
    assert metrics.peak_flops(torch.device("cpu"), bf16=True) is None


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_shows_losses_by_task_and_each_step_once(toy_recipe, tmp_path: Path, monkeypatch) -> None:
    settings = {"output": str(tmp_path / "out"), "checkpoint_every": "2", "max_steps": "4"}
    step = run.RSUniVLMTrainer.training_step

    def stopping(trainer: run.RSUniVLMTrainer, *arguments: object) -> torch.Tensor:
        if trainer.state.global_step == 3:
            raise KeyboardInterrupt
        return step(trainer, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(run.RSUniVLMTrainer, "training_step", stopping)
        with pytest.raises(KeyboardInterrupt):
            run.train(load_recipe(toy_recipe(), 1, settings))
    assert len(scalars(tmp_path / "logs/out")["train/loss"]) == 3  # on disk at once: no exit may lose them
    folder = run.train(load_recipe(toy_recipe(), 1, settings))
    curve = json.loads((folder / "training.json").read_text())["loss"]["curve"]
    shown = scalars(tmp_path / "logs/out")
    assert shown["train/loss"] == [(step, pytest.approx(loss)) for step, loss in curve]
    assert {tag for tag in shown if tag.startswith("train/loss/")} <= {
        f"train/loss/{task}" for task in ("vqa", "vg", "ss", "cc")
    }
    assert len(shown["train/loss/vg"]) >= 3
    assert all(0 <= share <= 1 for _, share in shown["train/data_wait"])
    assert {"train/samples_per_second", "train/tokens_per_second"} <= shown.keys()
    assert "train/mfu" not in shown  # nobody knows the peak of this CPU


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_other_loggers_by_name(
    toy_recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    recipe = load_recipe(toy_recipe(), 1, {"log_to": name, "output": str(tmp_path / "out")})
    monkeypatch.setattr(family_rsunivlm, "load_model", lambda *_: pytest.fail("the model was built"))
    with monkeypatch.context() as absent:
        absent.setattr(run, "find_spec", lambda _: None)
        with pytest.raises(ValueError, match=f"log_to={name} needs a package: pip install {name}"):
            run.train(recipe)
    module = types.ModuleType(name)
    module.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]
    module.run = None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, name, module)
    (callback,) = run._log_callbacks(recipe, None)
    assert type(callback).__name__.lower() == f"{name}callback"
    assert run._log_callbacks(load_recipe(toy_recipe(), 1, {"log_to": "none"}), None) == []
