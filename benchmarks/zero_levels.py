"""What ZeRO 1, 2 and 3 send and hold per step, measured with two processes: the reason for a default.

    python benchmarks/zero_levels.py                       # both stages, about 10 minutes on two cores
    python benchmarks/zero_levels.py --accumulation 1 --levels 2 3

Both stages are trained on synthetic scenes with each bundled DeepSpeed configuration. Counted are the bytes
that a process hands to collectives (torch.distributed, each call's larger buffer), the median time of a step
and the peak of resident memory within the steps. On CPUs the bytes are those of any machine in fp32; the
times are gloo's, on loopback. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

WARM_UP = 2  # steps that are not counted
COLLECTIVES = (
    *("all_reduce", "reduce", "broadcast", "all_gather", "all_gather_into_tensor"),
    *("reduce_scatter", "reduce_scatter_tensor"),
)

RECIPE = """
mixture: {{datasets: [{{name: synth, records: {folder}/data/train.jsonl}}]}}
model:
  tokenizer: {root}/playground/checkpoints/nano
  vision: {{timm_model: test_convnext, feature_index: 2, image_size: 64, hidden_size: 48, tokens_per_side: 4}}
  text:
    {{hidden_size: {hidden}, intermediate_size: {intermediate}, num_hidden_layers: {layers},
      num_attention_heads: {heads}, num_key_value_heads: {heads}}}
  mask_codec: {{grid: 8}}
batch_size: 2
max_steps: {steps}
gradient_accumulation: {accumulation}
learning_rate: 1.0e-4
log_to: none
checkpoint_every: 0
overwrite: true
stage2: {{init_from: "{folder}/stage1"}}
"""


def main() -> None:
    """Measure every level, or (as a process of a run) train and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--steps", type=int, default=8, help="optimizer steps of each run")
    parser.add_argument("--accumulation", type=int, default=2, help="forward passes per step")
    parser.add_argument("--levels", type=int, nargs="+", choices=(1, 2, 3), default=[1, 2, 3])
    parser.add_argument("--process", nargs=3, metavar=("STAGE", "LEVEL", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.process:
        stage, level, folder = options.process
        train(int(stage), int(level), Path(folder))
        return
    with tempfile.TemporaryDirectory() as name:
        rows = measure(options, Path(name))
    for row in rows:
        print("  ".join(f"{key} {value:>7}" for key, value in row.items()))
    settings = {key: value for key, value in vars(options).items() if key != "process"}
    print(json.dumps({"benchmark": "zero_levels", "processes": 2, **settings, "rows": rows}))


def measure(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Run both stages at every level, two processes each; one row per run."""
    synth = [sys.executable, "-m", "data_tools", "synth", "--out", str(folder / "data"), "--scenes", "20"]
    synth += ["--pairs", "8", "--size", "64", "--mask-grid", "8"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(synth, check=True, stdout=sys.stderr, env=environment)
    text = RECIPE.format(
        folder=folder,
        root=ROOT,
        hidden=options.hidden,
        intermediate=4 * options.hidden,
        layers=options.layers,
        heads=options.hidden // 32,
        steps=options.steps,
        accumulation=options.accumulation,
    )
    (folder / "recipe.yaml").write_text(text, encoding="utf-8")
    rows = []
    for stage in (1, 2):
        for level in options.levels:
            launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
            process = [str(Path(__file__).resolve()), "--process", str(stage), str(level), str(folder)]
            command = [*launcher, "--standalone", *process]
            subprocess.run(command, check=True, stdout=sys.stderr, env=environment)
            rows.append(json.loads((folder / "measured.json").read_text(encoding="utf-8")))
    return rows


def train(stage: int, level: int, folder: Path) -> None:
    """Train one stage as one of several processes; the first writes what it has measured."""
    import torch

    from rsunivlm.training import run
    from rsunivlm.training.recipe import load_recipe

    sent = 0

    def counted(collective: Callable[..., Any]) -> Callable[..., Any]:
        def call(*tensors: Any, **keywords: Any) -> Any:
            nonlocal sent
            sent += max((bytes_of(tensor) for tensor in (*tensors, *keywords.values())), default=0)
            return collective(*tensors, **keywords)

        return call

    for name in COLLECTIVES:
        setattr(torch.distributed, name, counted(getattr(torch.distributed, name)))
    marks: list[tuple[float, int]] = []

    class MarkingTrainer(run.RSUniVLMTrainer):
        """Notes the time and the bytes sent so far where a step begins."""

        def get_batch_samples(self, *arguments: Any) -> tuple[list[Any], int]:
            marks.append((time.perf_counter(), sent))
            if len(marks) == WARM_UP:
                Path("/proc/self/clear_refs").write_text("5")  # the peak of resident memory begins anew
            return super().get_batch_samples(*arguments)

    run.RSUniVLMTrainer = MarkingTrainer
    overrides = {
        "deepspeed": str(ROOT / f"scripts/zero{level}.json"),
        "output": str(folder / f"stage{stage}"),
    }
    peak = 0

    class PeakReader(run.ProgressCallback):
        """Reads the peak when the steps are done, before the weights are gathered to be published."""

        def on_train_end(self, *arguments: Any, **keywords: Any) -> None:
            nonlocal peak
            peak = peak_memory()
            super().on_train_end(*arguments, **keywords)

    run._log_callbacks = lambda *_: [PeakReader()]
    output = run.train(load_recipe(folder / "recipe.yaml", 1 if stage == 1 else 2, overrides))
    if os.environ["RANK"] == "0":
        steps = list(itertools.pairwise(marks[WARM_UP:]))
        row = {
            "stage": stage,
            "zero": level,
            "trained": json.loads((output / "training.json").read_text(encoding="utf-8"))[
                "trained_parameters"
            ],
            "megabytes": round(statistics.median(b[1] - a[1] for a, b in steps) / 1e6, 1),
            "seconds": round(statistics.median(b[0] - a[0] for a, b in steps), 3),
            "peak_mb": round(peak / 1e6),
        }
        (folder / "measured.json").write_text(json.dumps(row), encoding="utf-8")


def bytes_of(value: Any) -> int:
    """Size of a tensor or of a list of tensors; 0 of anything else."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    return sum(map(bytes_of, value)) if isinstance(value, list | tuple) else 0


def peak_memory() -> int:
    """Peak of resident memory in bytes, since the last time it was reset."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    main()
