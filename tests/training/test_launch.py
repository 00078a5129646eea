"""The two published commands, as a user types them: `bash scripts/...` and `deepspeed scripts/...`."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
STAGES = [SCRIPTS / f"train_stage{stage}.sh" for stage in (1, 2)]
RS_MOE_STAGES = [SCRIPTS / f"train_rs_moe_stage{stage}.sh" for stage in (1, 2)]
# Each ZeRO configuration costs some 20 s; the rest run when asked for.
ALL_LEVELS = "RSUNIVLM_TEST_ALL_ZERO" in os.environ


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module `scripts/launch.py`, which is imported from beside the scripts and lies in no package."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec = importlib.util.spec_from_file_location("launch", SCRIPTS / "launch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def command(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        [str(argument) for argument in arguments],
        cwd=cwd,
        env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # the launcher's children too: ranks may wait for each other
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


@pytest.mark.parametrize("script", STAGES + RS_MOE_STAGES, ids=lambda path: path.name)
def test_scripts_are_both_bash_and_python(script: Path) -> None:
    checked = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, check=True)
    assert checked.stderr == ""
    compile(script.read_text(), str(script), "exec")


def test_bash_runs_a_stage(toy_recipe, tmp_path: Path) -> None:
    ended = command("bash", STAGES[0], toy_recipe(), "max_steps=2", "--seed", "3", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1].startswith("stage 1 is done: ")
    assert (tmp_path / "runs/toy/stage1/model.safetensors").is_file()


def test_a_script_refuses_recipes_of_the_other_family(launch, toy_recipe, capsys) -> None:
    assert launch.main(1, [str(toy_recipe())], family="rs_moe") == 2
    assert "is a recipe for rsunivlm, this script trains rs_moe" in capsys.readouterr().err


@pytest.mark.distributed
@pytest.mark.parametrize(
    ("stage", "configuration"),
    [
        pytest.param(
            stage,
            name,
            marks=pytest.mark.skipif(
                (stage, name) != (2, "zero3") and not ALL_LEVELS, reason="set RSUNIVLM_TEST_ALL_ZERO"
            ),
        )
        for stage in (1, 2)
        for name in ("zero1", "zero2", "zero3", "zero2_offload", "zero3_offload")
    ],
)
def test_two_deepspeed_processes_train_as_one(
    toy_recipe, tiny_checkpoint: Path, tmp_path: Path, stage: int, configuration: str
) -> None:
    if shutil.which("deepspeed", path=str(Path(sys.executable).parent)) is None:
        pytest.skip("deepspeed is not installed; it comes with the extra [train]")
    start = {2: [f"init_from={tiny_checkpoint}"], 1: []}[stage]
    # A rate at which Adam's division does not blow the last bits of the gradient up to whole steps.
    common = [toy_recipe(), *start, "max_steps=20", "learning_rate=1e-4", "warmup_ratio=0"]
    alone = command("bash", STAGES[stage - 1], *common, "batch_size=8", "output=one", cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    launcher = ["deepspeed", "--num_gpus", 2, "--master_port", port, STAGES[stage - 1]]
    shared = [*common, "batch_size=2", "gradient_accumulation=2", "output=two"]
    # No compiler: nothing may have to be built for CPUs.
    level_file = f"deepspeed={SCRIPTS / f'{configuration}.json'}"
    together = command(*launcher, *shared, level_file, cwd=tmp_path, CXX="/nonexistent")
    assert together.returncode == 0, together.stdout[-2000:] + together.stderr[-4000:]
    curves = [
        json.loads((tmp_path / name / "training.json").read_text())["loss"]["curve"]
        for name in ("one", "two")
    ]
    losses_one, losses_two = (torch.tensor(curve, dtype=torch.float64) for curve in curves)
    assert losses_one.shape == (20, 2)
    assert (losses_one - losses_two).abs().max() < 1e-4
    assert losses_one[-1, 1] < losses_one[0, 1]
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    differences = torch.cat([(one[name] - two[name]).abs().flatten() for name in one])
    # Twenty steps of 1e-4 move a weight by up to 2e-3.
    assert differences.mean() < 1e-6
    assert differences.max() < 2e-4


@pytest.mark.distributed
@pytest.mark.skipif(not ALL_LEVELS, reason="set RSUNIVLM_TEST_ALL_ZERO")
@pytest.mark.parametrize("configuration", ["zero2", "zero3"])
def test_two_deepspeed_processes_train_rs_moe_as_one(tmp_path: Path, configuration: str) -> None:
    """Both stages of the shipped recipe; rows of a batch belong to several experts."""
    (tmp_path / "playground").symlink_to(ROOT / "playground")
    common = ["rsmoe_quick", "max_steps=6", "learning_rate=1e-4", "warmup_ratio=0"]
    # Dropout is drawn in each process.
    common += [f"model.qformer.{part}_dropout_prob=0.0" for part in ("hidden", "attention_probs")]
    for stage, script in enumerate(RS_MOE_STAGES, 1):
        alone = [*common, "batch_size=8", "deepspeed=", f"output=runs/rsmoe_quick/stage{stage}"]
        ended = command("bash", script, *alone, cwd=tmp_path)
        assert ended.returncode == 0, ended.stderr
        shared = [*common, "batch_size=4", f"deepspeed={SCRIPTS / f'{configuration}.json'}", "output=two"]
        together = command("deepspeed", "--num_gpus", 2, script, *shared, cwd=tmp_path, CXX="/nonexistent")
        assert together.returncode == 0, together.stdout[-2000:] + together.stderr[-4000:]
        one = load_file(tmp_path / f"runs/rsmoe_quick/stage{stage}/model.safetensors")
        two = load_file(tmp_path / "two/model.safetensors")
        assert one.keys() == two.keys()
        assert max((one[name] - two[name]).abs().max() for name in one) < 1e-5


ENDING = """
import atexit, os, launch
class Group:
    def __del__(self):
        os.abort()
def main(stage, family):
    atexit.register(print, "the logger ends", flush=False)
    print("stage", stage, flush=False)
    return {result}
group, launch.main = Group(), main
launch.run(2)
"""


@pytest.mark.parametrize(("result", "code"), [("0", 0), ("2", 2), ("1 / 0", 1)])
def test_one_of_several_processes_ends_before_what_libraries_left_can_abort_it(
    result: str, code: int
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ENDING.format(result=result)],
        cwd=SCRIPTS,
        env={**os.environ, "WORLD_SIZE": "2"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == code
    assert ended.stdout == "stage 2\nthe logger ends\n"
    assert ("ZeroDivisionError" in ended.stderr) == (code == 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.yaml"], "error: no such recipe file: nowhere.yaml"),
        (["quick", "lerning_rate=1"], "error: command line: unknown setting 'lerning_rate'; did you mean"),
        (["--recipe", "quick", "what"], "error: cannot read argument 'what'"),
        (
            ["recipe=quick", "prepare={}", "mixture={datasets: []}"],
            "error: mixture: 'datasets' must be a list",
        ),
    ],
)
def test_mistakes_end_with_one_line_and_code_2(
    launch: ModuleType, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert launch.main(1, ["--local_rank=0", *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith(message)
    assert "\n" not in error


def test_a_bad_image_in_a_loader_worker_ends_with_one_line(
    launch: ModuleType, toy_recipe, toy_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (toy_data / "blue.png").unlink()
    assert launch.main(1, [str(toy_recipe()), "max_steps=4", "workers=1"]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: dataset toy, record ")
    assert last.endswith("blue.png")


def test_without_data_the_quick_recipe_runs_and_says_why(
    launch: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RSUNIVLM_DATA", raising=False)
    assert launch.default_recipe(1).name == "quick.yaml"
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "The paper's recipe cannot run here. Missing:"
    assert lines[1] == "  starting weights: no checkpoint folder checkpoints/llava-onevision-qwen2-0.5b"
    assert lines[2] == "  data: no such mixture file: data/mixtures/stage1.yaml"
    named = lines[3].removeprefix("  datasets that are not converted: ").split(", ")
    assert len(named) == 26  # Tables 10 and 11
    assert lines[4] == "  make each: python -m data_tools convert NAME --root FOLDER --out data/NAME"
    mix = "python -m data_tools mix stage1 --data data --out data/mixtures/stage1.yaml"
    assert lines[5] == f"  and then: {mix}"
    assert lines[6].startswith("Running the bundled quick recipe instead")
    for stage in (1, 2):
        assert launch.default_recipe(stage, "rs_moe").name == "rsmoe_quick.yaml"
        lines = capsys.readouterr().out.splitlines()
        assert "'records' file" in lines[-2]
        assert lines[-1].endswith("rsmoe_quick.yaml")


def test_the_paper_recipe_runs_once_its_mixture_is_there(
    launch: ModuleType, toy_data: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RSUNIVLM_DATA", str(tmp_path / "sets"))
    recipe = tmp_path / "like_paper.yaml"
    recipe.write_text(
        f"stage1: {{mixture: '${{RSUNIVLM_DATA:-data}}/mixtures/stage1.yaml', init_from: {tiny_checkpoint}}}"
    )
    assert [line.split(":")[0] for line in launch.missing_inputs(recipe, 1)] == [
        *("data", "datasets that are not converted", "make each", "and then")
    ]
    mixture = tmp_path / "sets/mixtures/stage1.yaml"
    mixture.parent.mkdir(parents=True)
    mixture.write_text(f"datasets: [{{name: toy, records: {toy_data / 'train.jsonl'}}}]")
    assert launch.missing_inputs(recipe, 1) == []


def test_data_is_made_once(launch: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "synth"
    launch.prepare(folder, "synth --scenes 2 --pairs 1 --size 64 --mask-grid 4")
    before = (folder / "train.jsonl").stat().st_mtime_ns
    launch.prepare(folder, "synth --scenes 2 --pairs 1 --size 64 --mask-grid 4")
    assert (folder / "train.jsonl").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="could not make"):
        launch.prepare(tmp_path / "other", "convert dior_rsvg --root nowhere")
    with pytest.raises(ValueError, match=r"other uses \$\{NO_SUCH\}, which is not set"):
        launch.prepare(tmp_path / "other", "convert dior_rsvg --root ${NO_SUCH}")
    with pytest.raises(
        ValueError, match=r"begin with one of convert, synth, tokenizer, split-captions, not 'list'"
    ):
        launch.prepare(tmp_path / "other", "list")


def test_other_processes_wait_for_the_finished_data_not_for_its_folder(
    launch: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "rsicd"
    folder.mkdir()  # as a conversion makes it, at its beginning
    (folder / ".123.partial").mkdir()
    waited = []

    def sleep(seconds: float) -> None:
        waited.append(sorted(path.name for path in folder.iterdir()))
        if len(waited) == 2:
            (folder / "conversion.json").touch()
        assert len(waited) < 3

    monkeypatch.setattr(launch, "LOCAL_RANK", 1)
    monkeypatch.setattr(launch.time, "sleep", sleep)
    launch.prepare(folder, "convert rsicd --root x")
    assert waited == [[".123.partial"], [".123.partial"]]
