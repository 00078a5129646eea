"""Kill a training run at random instants, start it again each time, and compare it with an undisturbed run.

    python benchmarks/kill_points.py --kills 50
    python benchmarks/kill_points.py --kills 10 --processes 2 --deepspeed scripts/zero2.json

The run is tiny but has all that could go wrong: packed rows, loader workers, gradient accumulation, a second
epoch, checkpoints every few steps. SIGKILL goes to the whole process group while the run starts, trains,
writes a checkpoint or publishes. The end must be equal to the bit: weights, losses, and the samples of every
step that any start of the run has trained. A run that comes to its end before the kills are used up is
compared, and another one begins. The last line is one JSON object; the exit code is 1 if anything differs.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

RECIPE = """
mixture: {{datasets: [{{name: synth, records: {data}/train.jsonl, samples: 150}}]}}
model:
  tokenizer: {root}/playground/checkpoints/nano
  vision: {{timm_model: test_convnext, feature_index: 2, image_size: 64, hidden_size: 48, tokens_per_side: 4}}
  text:
    {{hidden_size: 64, intermediate_size: 96, num_hidden_layers: 2, num_attention_heads: 2,
      num_key_value_heads: 1}}
  mask_codec: {{grid: 8}}
packing: true
max_length: 512
batch_size: 1
gradient_accumulation: 2
workers: 2
max_steps: 40
learning_rate: 1.0e-3
log_every: 4
log_to: none
checkpoint_every: 3
deepspeed: "{deepspeed}"
"""


@dataclass
class Setup:
    """What is run, and what an undisturbed run gave."""

    folder: Path
    recipe: Path
    processes: int
    names: dict[tuple[int, int], list[str]] = field(default_factory=dict)  # rank and step -> samples
    seconds_to_start: float = 0.0
    seconds_to_train: float = 0.0


class Start:
    """One start of the run: a group of processes of its own."""

    def __init__(self, setup: Setup, output: Path) -> None:
        """Start it."""
        self.setup = setup
        self.output = output
        self.began = time.time()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.traces = [
            setup.folder / f"trace.{time.monotonic_ns()}.{rank}" for rank in range(setup.processes)
        ]
        self.log = self.traces[0].with_suffix(".log")
        self.processes: list[subprocess.Popen[bytes]] = []
        for rank, trace in enumerate(self.traces):
            environment = dict(os.environ, OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1")
            if setup.processes > 1:
                environment |= {
                    "RANK": str(rank),
                    "LOCAL_RANK": str(rank),
                    "WORLD_SIZE": str(setup.processes),
                }
                environment |= {"LOCAL_WORLD_SIZE": str(setup.processes)}
                environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            command = [sys.executable, __file__, "--run", setup.recipe, output, trace]
            with self.log.open("ab") as log:
                self.processes.append(
                    subprocess.Popen(
                        list(map(str, command)),
                        stdout=log,
                        stderr=log,
                        env=environment,
                        process_group=self.processes[0].pid if self.processes else 0,
                    )
                )

    @property
    def ended(self) -> bool:
        """No process of the run is left; one that failed ends the script."""
        codes = [process.poll() for process in self.processes]
        if any(codes):
            self.kill()
            sys.exit(f"the run failed (exit codes {codes}):\n{self.log.read_text()[-4000:]}")
        return None not in codes

    def kill(self) -> None:
        """SIGKILL to the group, loader workers included."""
        os.killpg(self.processes[0].pid, signal.SIGKILL)
        for process in self.processes:
            process.wait()

    def trained(self) -> dict[tuple[int, int], list[str]]:
        """Rank and step -> names of the samples that were fetched for it."""
        found = {}
        for rank, trace in enumerate(self.traces):
            lines = trace.read_text().split("\n")[:-1] if trace.exists() else []  # the last may be cut off
            found |= {(rank, step): names for step, names in map(json.loads, lines)}
        return found

    @property
    def writing(self) -> bool:
        """A checkpoint is being written."""
        folder = self.output.with_name(f".{self.output.name}.checkpoints") / "partial"
        return any(self._begun(path) for path in folder.glob("checkpoint-*"))

    @property
    def publishing(self) -> bool:
        """The result is being written."""
        return self._begun(self.output.with_name(f".{self.output.name}.partial"))

    def _begun(self, path: Path) -> bool:
        """This start has made it; an earlier one may have left its like."""
        try:
            return path.stat().st_mtime > self.began
        except FileNotFoundError:
            return False

    def wait(self, condition: Any, seconds: float = 1e9) -> None:
        """Wait for a condition, the end of the run, or the end of a time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not condition() and not self.ended:
            time.sleep(0.002)


def main() -> int:
    """Run the comparison; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--deepspeed", default="", help="DeepSpeed configuration, with several processes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", nargs=3, metavar=("RECIPE", "OUTPUT", "TRACE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        return run(*map(Path, arguments.run))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        from data_tools.__main__ import main as data_tools

        data = folder / "data"
        if data_tools(f"synth --scenes 40 --pairs 10 --size 64 --seed 3 --mask-grid 8 --out {data}".split()):
            sys.exit("the synthetic data could not be made")
        recipe = folder / "tiny.yaml"
        deepspeed = str(Path(arguments.deepspeed).resolve()) if arguments.deepspeed else ""
        recipe.write_text(RECIPE.format(data=data, root=ROOT, deepspeed=deepspeed))
        setup = Setup(folder, recipe, arguments.processes)
        return compare(setup, arguments.kills, random.Random(arguments.seed))


def run(recipe_file: Path, output: Path, trace: Path) -> int:
    """What is started and killed: the training, writing down the samples of each step as it fetches them."""
    from rsunivlm.training.recipe import load_recipe
    from rsunivlm.training.run import train
    from rsunivlm.training.trainer import RSUniVLMTrainer

    fetch = RSUniVLMTrainer.get_batch_samples

    def tracing(trainer: RSUniVLMTrainer, *arguments: Any) -> Any:
        batches, supervised = fetch(trainer, *arguments)
        names = [name for batch in batches for name in batch["info"].names]
        with trace.open("a") as file:
            file.write(json.dumps([trainer.state.global_step + 1, names]) + "\n")
        return batches, supervised

    RSUniVLMTrainer.get_batch_samples = tracing
    train(load_recipe(recipe_file, 1, {"output": str(output)}))
    return 0


def compare(setup: Setup, kills: int, choose: random.Random) -> int:
    """The undisturbed run, then runs with kills until there are enough of them."""
    started = time.monotonic()
    undisturbed = Start(setup, setup.folder / "undisturbed")
    undisturbed.wait(undisturbed.trained)
    setup.seconds_to_start = time.monotonic() - started
    undisturbed.wait(lambda: False)
    setup.seconds_to_train = time.monotonic() - started - setup.seconds_to_start
    setup.names = undisturbed.trained()
    print(
        f"undisturbed: {setup.seconds_to_start:.1f} s to the first step, then {setup.seconds_to_train:.1f} s",
        flush=True,
    )
    moments: collections.Counter[str] = collections.Counter()
    differing: list[str] = []
    runs = 0
    while sum(moments.values()) < kills:
        output = setup.folder / f"killed{runs}"
        while True:
            start = Start(setup, output)
            moment = interrupt(start, choose) if sum(moments.values()) < kills else None
            if moment is None:
                start.wait(lambda: False)
            else:
                moments[moment] += 1
                print(f"kill {sum(moments.values())}: {moment}", flush=True)
            differing += [
                f"samples of process {rank} in step {step}, run {runs}"
                for (rank, step), names in start.trained().items()
                if setup.names[rank, step] != names
            ]
            if moment is None or finished(output):
                break
        differing += differences(setup.folder / "undisturbed", output)
        runs += 1
    print("\n".join(differing) or "every run ended like the undisturbed one")
    result = {
        "benchmark": "kill_points",
        "kills": sum(moments.values()),
        "while": dict(moments),
        "runs": runs,
        "processes": setup.processes,
        "equal": not differing,
        "seconds": round(time.monotonic() - started),
    }
    print(json.dumps(result))
    return int(bool(differing))


def interrupt(start: Start, choose: random.Random) -> str | None:
    """Kill a start of the run at a random instant; says what it was doing, None if it had come to its end."""
    kind = choose.choice(("any", "training", "training", "writing", "writing", "writing", "publishing"))
    if kind == "any":
        start.wait(lambda: False, choose.uniform(0, start.setup.seconds_to_start))
    elif kind == "training":
        start.wait(start.trained)
        start.wait(lambda: False, choose.uniform(0, start.setup.seconds_to_train / 2))
    elif kind == "writing":
        for _ in range(choose.randint(1, 3)):
            start.wait(lambda: not start.writing)
            start.wait(lambda: start.writing)
        start.wait(lambda: False, choose.uniform(0, 0.05))
    else:
        start.wait(lambda: start.publishing)
        start.wait(lambda: False, choose.uniform(0, 0.05))
    if start.ended:
        return None
    start.kill()
    if start.publishing:
        return "publishing"
    if start.writing:
        return "writing a checkpoint"
    return "training" if start.trained() else "starting"


def finished(output: Path) -> bool:
    """The run was killed behind its end."""
    report = output / "training.json"
    return report.is_file() and json.loads(report.read_text())["finished"]


def differences(undisturbed: Path, killed: Path) -> list[str]:
    """What differs between two published checkpoints."""
    from safetensors.torch import load_file

    expected, found = (load_file(folder / "model.safetensors") for folder in (undisturbed, killed))
    differing = [f"{killed.name}: {name}" for name in expected if not found[name].equal(expected[name])]
    losses = [json.loads((folder / "training.json").read_text())["loss"] for folder in (undisturbed, killed)]
    return differing + ([f"{killed.name}: losses"] if losses[0] != losses[1] else [])


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sys.exit(main())
