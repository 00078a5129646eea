"""An interrupted run ends as an undisturbed one; partial, damaged and foreign checkpoints are not used."""

from __future__ import annotations

import errno
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

import pytest
import torch
from safetensors.torch import load_file

from rsunivlm.data.loading import SampleLoader
from rsunivlm.training import checkpointing, family_rsunivlm, run
from rsunivlm.training.checkpointing import CheckpointStore
from rsunivlm.training.recipe import load_recipe
from rsunivlm.training.trainer import RSUniVLMTrainer

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
ALL_LEVELS = "RSUNIVLM_TEST_ALL_ZERO" in os.environ


class Interrupted(Exception):  # noqa: N818
    """Stands for a kill."""


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Notes the samples of each step; ends the process's run before step `stop_at`."""
    notes: dict[str, Any] = {"names": {}, "stop_at": None}
    fetch = RSUniVLMTrainer.get_batch_samples

    def noting(trainer: RSUniVLMTrainer, *arguments: Any) -> Any:
        step = trainer.state.global_step + 1
        if step == notes["stop_at"]:
            raise Interrupted
        batches, supervised = fetch(trainer, *arguments)
        notes["names"][step] = [name for batch in batches for name in batch["info"].names]
        return batches, supervised

    monkeypatch.setattr(RSUniVLMTrainer, "get_batch_samples", noting)
    return notes


@pytest.fixture
def train(toy_recipe, tmp_path: Path) -> Callable[..., tuple[dict[str, torch.Tensor], dict[str, Any]]]:
    """Trains a stage; gives weights and report."""

    def run_it(name: str, stage: int = 1, **settings: Any) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        common = {"max_steps": 7, "checkpoint_every": 2, "log_every": 3, "batch_size": 2, "max_length": 600}
        overrides = {"output": tmp_path / name, **common, **settings}
        folder = run.train(load_recipe(toy_recipe(), stage, {k: str(v) for k, v in overrides.items()}))
        return load_file(folder / "model.safetensors"), json.loads((folder / "training.json").read_text())

    return run_it


@pytest.mark.parametrize(
    ("stage", "settings"),
    [
        # 7 x 2 x 2 = 28 of 16 records: the second pass begins on the way.
        pytest.param(1, {"gradient_accumulation": 2}, id="padded"),
        pytest.param(1, {"packing": "true", "batch_size": 1, "workers": 2}, id="packed, loader workers"),
        pytest.param(2, {"packing": "true", "batch_size": 1, "feature_cache": "cache"}, id="features"),
        pytest.param(2, {"adaptation": "lora", "adaptation_options": "{rank: 4}"}, id="lora"),
    ],
)
def test_a_resumed_run_ends_as_an_undisturbed_one(
    train, watched, make_tiny_model, tiny_processor, tmp_path: Path, monkeypatch, stage: int, settings
) -> None:
    monkeypatch.chdir(tmp_path)
    if stage == 2:
        make_tiny_model().save_pretrained("dense")
        tiny_processor.save_pretrained("dense")
        settings = {**settings, "init_from": "dense"}
    expected, report = train("undisturbed", stage, **settings)
    undisturbed = dict(watched["names"])
    assert sorted(undisturbed) == [1, 2, 3, 4, 5, 6, 7]

    watched.update(names={}, stop_at=6)
    with pytest.raises(Interrupted):
        train("resumed", stage, **settings)
    checkpoints = tmp_path / ".resumed.checkpoints"
    assert sorted(path.name for path in checkpoints.iterdir()) == ["latest", "step-00000002", "step-00000004"]
    assert (checkpoints / "latest").readlink() == Path("step-00000004")

    loaded = []
    load = SampleLoader.load
    monkeypatch.setattr(SampleLoader, "load", lambda *row: loaded.append(row) or load(*row))
    watched.update(names={}, stop_at=None)
    weights, resumed_report = train("resumed", stage, **settings)
    assert watched["names"] == {step: undisturbed[step] for step in (5, 6, 7)}
    if not settings.get("workers"):
        assert len(loaded) == sum(
            len(undisturbed[step]) for step in (5, 6, 7)
        )  # positions are skipped unread
    assert weights.keys() == expected.keys()
    assert all(weights[name].equal(expected[name]) for name in expected)
    assert resumed_report["loss"] == report["loss"]
    assert [step for step, _ in report["loss"]["curve"]] == [1, 2, 3, 4, 6]
    assert not checkpoints.exists()


def test_another_run_is_refused_by_what_differs_and_can_be_started_afresh(
    train, watched, toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched["stop_at"] = 4
    with pytest.raises(Interrupted):
        train("a")
    with monkeypatch.context() as patched:
        patched.setattr(family_rsunivlm, "load_model", lambda *_: pytest.fail("the model was built"))
        with pytest.raises(
            ValueError, match=r"cannot be resumed: batch_size was 2, is 4; records.*differs\."
        ):
            train("a", batch_size=4)
        with pytest.raises(ValueError, match=r"learning_rate was 0\.001, is 0\.01"):
            train("a", learning_rate="0.01")
        patched.setenv("WORLD_SIZE", "2")
        with pytest.raises(ValueError, match=r"processes was 1, is 2; .*resume=false"):
            train("a")
        patched.delenv("WORLD_SIZE")
        records = (toy_data / "train.jsonl").read_text()
        (toy_data / "train.jsonl").write_text(records.replace("same as before", "same as after"))
        with pytest.raises(ValueError, match="records and their order"):
            train("a")
        (toy_data / "train.jsonl").write_text(records)
    watched.update(names={}, stop_at=None)
    train("a", resume="false", learning_rate="0.01", max_steps=2)
    assert sorted(watched["names"]) == [1, 2]
    assert not (tmp_path / ".a.checkpoints").exists()


def test_settings_that_change_nothing_may_change(train, watched, tmp_path: Path) -> None:
    expected, _ = train("undisturbed", max_steps=4)
    watched["stop_at"] = 4
    with pytest.raises(Interrupted):
        train("a", max_steps=4)
    watched.update(names={}, stop_at=None)
    free = {"log_every": 1, "workers": 1, "checkpoint_every": 1, "log_to": "none"}
    weights, report = train("a", max_steps=4, measures=tmp_path / "measures", **free)
    assert len(list((tmp_path / "measures").iterdir())) == 1
    assert sorted(watched["names"]) == [3, 4]
    assert all(weights[name].equal(expected[name]) for name in expected)
    assert [step for step, _ in report["loss"]["curve"]] == [1, 2, 3, 4]


def test_a_full_disk_stops_the_run_and_leaves_the_last_good_checkpoint(
    train, watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, saved = torch.save, []

    def full(thing: Any, file: Any) -> None:
        saved.append(file)
        if "checkpoint-4" in str(file):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(thing, file)

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", full)
        with pytest.raises(ValueError, match=r"checkpoint of step 4 .*No space left.*GB are free.*make room"):
            train("a")
    assert len(saved) > 1
    assert sorted(path.name for path in (tmp_path / ".a.checkpoints").iterdir()) == [
        "latest",
        "step-00000002",
    ]
    watched["names"].clear()
    train("a")
    assert sorted(watched["names"]) == [3, 4, 5, 6, 7]


def test_what_a_run_published_on_its_way_does_not_keep_it_from_resuming(
    train, watched, tmp_path: Path
) -> None:
    watched["stop_at"] = 2
    with pytest.raises(Interrupted):
        train("a", save_every=1)  # killed before its first checkpoint
    assert json.loads((tmp_path / "a/training.json").read_text())["finished"] is False
    watched["stop_at"] = None
    with pytest.raises(ValueError, match="exists"):
        train("a", save_every=1, seed=1)
    train("a", save_every=1)
    assert sorted(watched["names"]) == [1, 2, 3, 4, 5, 6, 7]
    with pytest.raises(ValueError, match=r"a exists; choose another output or set overwrite=true"):
        train("a", save_every=1)


# The store alone, on files of a few bytes.


def write(store: CheckpointStore, step: int) -> None:
    store.prepare()
    written = store.partial / "some name"
    (written / "part").mkdir(parents=True)
    (written / "weights").write_text(f"weights of {step}")
    (written / "part/optimizer").write_text(f"optimizer of {step}")
    store.seal(written, step, [store.sync(written, rank, 2) for rank in range(2)])


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "store", {"seed": 1}, keep=2)


def test_the_newest_whole_checkpoint_counts(store: CheckpointStore) -> None:
    assert store.newest() is None
    for step in (5, 10, 100):
        write(store, step)
    hundred = store.newest()
    assert hundred == store.folder / "step-00000100"
    assert store.newest() == (store.folder / "latest").resolve()
    assert not (store.folder / "step-00000005").exists()

    (hundred / "part/optimizer").write_text("optimizer of 9999")  # one byte more
    assert store.newest() == store.folder / "step-00000010"
    (hundred / "part/optimizer").write_text("optimizer of 101")  # the right size
    assert store.newest() == store.folder / "step-00000010"
    shutil.copytree(store.folder / "step-00000010", store.folder / "step-00000200")
    (store.folder / "step-00000200/manifest.json").write_text('{"step": 2')
    (store.folder / "step-00000010/weights").unlink()
    assert store.newest() is None
    write(store, 100)  # in the place of the damaged one
    assert store.newest() == hundred


def test_a_write_that_is_cut_off_anywhere_leaves_a_whole_checkpoint(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(store, 1)
    write(store, 2)
    before = 2
    for cut in range(100):
        calls = 0

        def cutting(call: Callable[..., Any]) -> Callable[..., Any]:
            def counted(*arguments: Any, **keywords: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls > cut:  # noqa: B023
                    raise Interrupted
                return call(*arguments, **keywords)

            return counted

        with monkeypatch.context() as patched:
            for module, names in (
                (os, ("replace", "fsync", "rmdir", "unlink")),
                (Path, ("write_text", "mkdir")),
            ):
                for name in names:
                    patched.setattr(module, name, cutting(getattr(module, name)))
            try:
                write(store, cut + 3)
            except Interrupted:
                pass
            else:
                break
        found = store.newest()
        assert found is not None
        step = int(found.name.removeprefix("step-"))
        assert step in (before, cut + 3)
        before = step
        assert (found / "weights").read_text() == f"weights of {step}"
        assert (found / "part/optimizer").read_text() == f"optimizer of {step}"
    else:
        pytest.fail("the write never came to its end")
    assert store.newest() == store.folder / f"step-{cut + 3:08}"


def test_other_identities_are_refused(store: CheckpointStore) -> None:
    write(store, 1)
    other = CheckpointStore(store.folder, {"seed": 2, "model": "x" * 200}, keep=2)
    with pytest.raises(
        ValueError, match=r"model differs; seed was 1, is 2\. Start it as before, or set resume"
    ):
        other.newest()
    settings = {"seed": 1, "share_images": 4, "workers": 3, "measures": "m", "output": "x"}
    assert checkpointing.binding_settings(settings) == {"seed": 1, "share_images": 4}


@pytest.mark.distributed
@pytest.mark.parametrize(
    "level",
    [
        pytest.param(level, marks=pytest.mark.skipif(level != 2 and not ALL_LEVELS, reason="on request"))
        for level in (0, 1, 2, 3)
    ],
)
def test_two_killed_processes_resume(toy_recipe, tmp_path: Path, level: int) -> None:
    """SIGKILL to both processes of a packed run; level 0 is torch's own data parallelism."""
    if level and shutil.which("deepspeed", path=str(Path(sys.executable).parent)) is None:
        pytest.skip("deepspeed is not installed; it comes with the extra [train]")
    settings = [
        toy_recipe(),
        "packing=true",
        "batch_size=1",
        "workers=1",
        "max_steps=6",
        "checkpoint_every=2",
    ]
    settings += [f"deepspeed={SCRIPTS / f'zero{level}.json' if level else ''}", "max_length=600"]

    def start(output: str) -> subprocess.Popen[str]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        ranks = 'for r in 0 1; do RANK=$r LOCAL_RANK=$r "$0" "$@" & done; wait -n && wait'
        arguments = [sys.executable, SCRIPTS / "train_stage1.sh", *settings, f"output={output}"]
        return subprocess.Popen(
            ["bash", "-c", ranks, *map(str, arguments)],
            cwd=tmp_path,
            env={
                **os.environ,
                "WORLD_SIZE": "2",
                "LOCAL_WORLD_SIZE": "2",
                "OMP_NUM_THREADS": "1",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "HF_HUB_OFFLINE": "1",
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(output: str) -> dict[str, torch.Tensor]:
        process = start(output)
        try:
            _, errors = process.communicate(timeout=600)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        assert process.returncode == 0, errors[-4000:]
        return load_file(tmp_path / output / "model.safetensors")

    undisturbed = finish("undisturbed")
    process = start("killed")
    deadline = time.monotonic() + 600
    while not (tmp_path / ".killed.checkpoints/latest").exists():
        assert process.poll() is None, process.stderr.read()[-4000:]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed").exists()
    weights = finish("killed")
    assert all(weights[name].equal(undisturbed[name]) for name in undisturbed)
    losses = [
        json.loads((tmp_path / name / "training.json").read_text())["loss"]
        for name in ("undisturbed", "killed")
    ]
    assert losses[0] == losses[1]
