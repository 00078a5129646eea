"""Training speed of this project's loop against the plain way, on the same samples, model and machine.

    python benchmarks/train_throughput.py                     # small model, CPU: both stages
    python benchmarks/train_throughput.py --size full         # published size, on a GPU

The plain way is what a careful user of transformers writes: the stock Trainer, batches padded to their
longest row in the order of the plan, cross-entropy over all positions, experts in a `ModuleList` that each
row is sent to. Ours packs, scores supervised positions only, slices stacked experts and, in stage 2, reads
image embeddings computed before (their computation is reported, not counted).

Both train the same samples in turn, several times; the ratio of the medians is the result. The last line is
one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainerCallback, set_seed

from data_tools.__main__ import main as data_tools
from rsunivlm.data.collation import Collator, PackCollator
from rsunivlm.data.dataset import PackedSamples, TrainingSamples
from rsunivlm.data.mixtures import Mixture
from rsunivlm.models.rsunivlm.experts import ExpertDispatch, GranularityExperts
from rsunivlm.models.rsunivlm.segment_attention import NAME as SEGMENTS
from rsunivlm.training.build import load_model, load_processor
from rsunivlm.training.features import attach_features
from rsunivlm.training.recipe import Recipe
from rsunivlm.training.stages import prepare_stage
from rsunivlm.training.trainer import RSUniVLMTrainer, training_arguments

ROOT = Path(__file__).resolve().parents[1]
# Shares of the tasks in the paper's mixtures (Tables 10 to 12; instruction sets split by kinds of turns).
SHARES = {
    1: {"vqa": 34, "cap": 15, "vg": 20, "reg": 5, "sc": 5, "ss": 17, "cc": 3, "cd": 1},
    2: {"vqa": 11, "cap": 6, "sc": 11, "cc": 6, "vg": 27, "reg": 6, "ss": 30, "cd": 3},
}
MODELS: dict[str, dict[str, Any]] = {
    "small": {
        "vision": {
            "timm_model": "vit_tiny_patch16_224",
            "timm_args": {"img_size": 128, "depth": 6, "class_token": False, "global_pool": "avg"},
            "feature_index": 4,
            "image_size": 128,
            "hidden_size": 192,
            "tokens_per_side": 8,
        },
        "text": {
            "hidden_size": 256,
            "intermediate_size": 1408,
            "num_hidden_layers": 6,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
        },
        "mask_codec": {"grid": 24},
    },
    "full": {},
}


class ListedExperts(nn.Module):
    """The plain way to hold experts: a list of networks, and a mask of the rows that each one takes."""

    def __init__(self, stacked: GranularityExperts) -> None:
        super().__init__()
        self.experts = nn.ModuleList()
        for gate_up_2ID, down_DI in zip(stacked.gate_up_proj, stacked.down_proj, strict=True):
            gate_ID, up_ID = gate_up_2ID.detach().chunk(2)
            parts = {"gate": gate_ID, "up": up_ID, "down": down_DI.detach()}
            network = nn.ModuleDict()
            for name, weight in parts.items():
                network[name] = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
                network[name].weight.data.copy_(weight)
            self.experts.append(network.requires_grad_(stacked.gate_up_proj.requires_grad))

    def forward(self, x_BLD: Tensor, dispatch: ExpertDispatch) -> Tensor:
        """Each row through its expert; [B, L, D] in and out."""
        expert_B = torch.repeat_interleave(torch.arange(len(dispatch.splits)), torch.tensor(dispatch.splits))
        if dispatch.inverse is not None:
            expert_B = expert_B.to(x_BLD.device)[dispatch.inverse]
        out_BLD = torch.zeros_like(x_BLD)
        for index, expert in enumerate(self.experts):
            rows = (expert_B == index).to(x_BLD.device)
            if rows.any():
                x_bLD = x_BLD[rows]
                hidden = nn.functional.silu(expert["gate"](x_bLD)) * expert["up"](x_bLD)
                out_BLD[rows] = expert["down"](hidden).to(out_BLD.dtype)
        return out_BLD


class StepTimes(TrainerCallback):
    """Notes when each step ends."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock."""
        self.ends.append(time.perf_counter())

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Note the end of a step."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())


class PlainTrainer(Trainer):
    """The stock Trainer, in the order of the plan so that both sides see the same samples."""

    def _get_train_sampler(self, *_: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=tuple(MODELS), default="small")
    parser.add_argument("--stage", type=int, choices=(1, 2), action="append")
    parser.add_argument("--samples", type=int, default=240, help="samples per measured run")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side, in turn")
    parser.add_argument("--batch-size", type=int, default=4, help="rows of a plain batch (the paper's 4)")
    parser.add_argument("--pack-length", type=int, default=2048, help="tokens of a packed row")
    parser.add_argument("--max-images", type=int, default=16, help="images of a packed row")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        size = 128 if arguments.size == "small" else 384
        grid = 24
        command = f"synth --scenes 600 --pairs 100 --size {size} --seed 3 --mask-grid {grid} --out {data}"
        if data_tools(command.split()):
            sys.exit("the synthetic data could not be made")
        results = [measure(stage, arguments, data, Path(folder)) for stage in (arguments.stage or (1, 2))]
    for result in results:
        ours, plain = result["ours"], result["plain"]
        print(
            f"stage {result['stage']}: {ours['samples_per_s']:.1f} against {plain['samples_per_s']:.1f} "
            f"samples/s, {ours['supervised_tokens_per_s']:.0f} against "
            f"{plain['supervised_tokens_per_s']:.0f} supervised tokens/s: {result['ratio']:.2f} x"
        )
    print(json.dumps({"benchmark": "train_throughput", "size": arguments.size, "stages": results}))


def measure(stage: int, arguments: argparse.Namespace, data: Path, folder: Path) -> dict[str, Any]:
    """Both sides of one stage."""
    total = sum(SHARES[stage].values())
    entries = [
        {
            "name": task,
            "records": str(data / f"training/{task}_train.jsonl"),
            "images": str(data),
            "samples": max(1, round(10 * arguments.samples * share / total)),
        }
        for task, share in SHARES[stage].items()
    ]
    recipe = Recipe(
        name="throughput",
        stage=1,
        mixture={"datasets": entries},
        model={"tokenizer": str(ROOT / "playground/checkpoints/nano"), **MODELS[arguments.size]},
        batch_size=arguments.batch_size,
        max_length=arguments.pack_length,
        max_images=arguments.max_images,
        feature_cache=str(folder / "features"),
        precision="auto",
        log_every=1000,
    )
    processor = load_processor(recipe)
    mixture = Mixture.load(recipe.mixture)
    sides: dict[str, list[dict[str, float]]] = {"ours": [], "plain": []}
    for _ in range(arguments.repeats):
        for side, run in (("plain", run_plain), ("ours", run_ours)):
            set_seed(0)
            model = prepare_stage(load_model(recipe, processor), stage)
            sides[side].append(run(model, processor, mixture, recipe, stage, arguments.samples, folder))
    summary: dict[str, Any] = {"stage": stage}
    for side, runs in sides.items():
        summary[side] = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        summary[side]["runs"] = [round(run["samples_per_s"], 2) for run in runs]
    summary["ratio"] = summary["ours"]["samples_per_s"] / summary["plain"]["samples_per_s"]
    return summary


def run_plain(
    model: Any, processor: Any, mixture: Mixture, recipe: Recipe, stage: int, count: int, folder: Path
) -> dict[str, float]:
    """Padded batches, full scores, listed experts, the stock Trainer."""
    if stage == 2:
        for layer in model.model.language_model.layers:
            layer.mlp = ListedExperts(layer.mlp)
    samples = TrainingSamples(mixture, processor, count, recipe.max_length)
    collate = Collator(processor.tokenizer.pad_token_id, model.config.num_experts)

    def plain(rows: Any) -> dict[str, Any]:
        batch = collate(rows)
        del batch["loss_positions"], batch["info"]
        return batch

    times = StepTimes()
    trainer = PlainTrainer(
        model=model,
        args=training_arguments(recipe, folder / "plain", distributed=False),
        data_collator=plain,
        train_dataset=samples,
        callbacks=[times],
    )
    trainer.train()
    per_step = [
        (sum(1 for _ in step), sum(int((sample.labels != -100).sum()) for sample in step))
        for step in (
            [samples[i] for i in range(s, min(s + recipe.batch_size, count))]
            for s in range(0, count, recipe.batch_size)
        )
    ]
    return _rates(times.ends, per_step)


def run_ours(
    model: Any, processor: Any, mixture: Mixture, recipe: Recipe, stage: int, count: int, folder: Path
) -> dict[str, float]:
    """Packs, supervised positions, stacked experts; stage 2 with image embeddings from disk."""
    model.set_attn_implementation({"text_config": SEGMENTS})
    samples = PackedSamples(
        mixture, processor, recipe.max_length, epochs=count / len(mixture), max_images=recipe.max_images
    )
    arguments = training_arguments(replace(recipe, batch_size=1), folder / "ours", distributed=False)
    started = time.perf_counter()
    if stage == 2:
        attach_features(
            model,
            processor,
            samples,
            recipe,
            device=arguments.device,
            bf16=arguments.bf16,
            rank=0,
            processes=1,
        )
    prepared = time.perf_counter() - started
    times = StepTimes()
    trainer = RSUniVLMTrainer(
        model=model,
        args=arguments,
        data_collator=PackCollator(processor.tokenizer.pad_token_id, model.config.num_experts),
        train_dataset=samples,
        processing_class=processor,
        learning_rates={},
        callbacks=[times],
    )
    trainer.train()
    per_step = [
        (len(pack), sum(int((sample.labels != -100).sum()) for sample in pack))
        for pack in (samples[index] for index in range(len(samples)))
    ]
    return _rates(times.ends, per_step) | {"features_s": prepared}


def _rates(ends: list[float], per_step: list[tuple[int, int]]) -> dict[str, float]:
    """Samples and supervised tokens per second, without the first two steps (kernels are chosen there)."""
    skipped = 2
    seconds = ends[-1] - ends[skipped]
    counted = per_step[skipped:]
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    return {
        "samples_per_s": sum(samples for samples, _ in counted) / seconds,
        "supervised_tokens_per_s": sum(tokens for _, tokens in counted) / seconds,
        "steps": float(len(counted)),
        "peak_gib": (peak / 2**30) if peak else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
