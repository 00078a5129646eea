"""Training speed of this project's loop against the plain way, on the same samples, model and machine.

    python benchmarks/train_throughput.py                     # small model, CPU: both stages
    python benchmarks/train_throughput.py --size full         # published size, on a GPU

The plain way is what a careful user of transformers writes: the stock Trainer with its default optimizer,
batches of 4 padded to their longest row, shuffled samples, cross-entropy over all positions, experts in a
`ModuleList` that each row is sent to. Ours packs, computes once what samples about one image share, scores
supervised positions only, slices stacked experts and, in stage 2, reads image embeddings computed before.

Both train one epoch of the same samples, a stand-in for the paper's mixtures with as many samples an image
as the real sets have (`published_mixtures`). The sides take turns, each run in a process of its own; the
ratio of the median samples per second is the result. Where other programs share the CPU, the ratio of samples
per second of CPU time (`cpu_ratio`) is the steadier one. Stage 2 is given twice: without the time in which
its embeddings were computed, and with it, once per image of the epoch (`with_features`; later epochs and
other runs on the same images find them on disk).

The small model keeps the published proportions, since they decide what there is to gain: 196 image tokens of
about 250 (published 729 of about 880); a head of 8192 rows, most of them for no token of the small tokenizer,
that takes 27 % of the language model's forward pass over all positions (published 28 %); a tower that takes
as much as the language model without its head (0.64 and 0.63 TFLOP); masks on a grid of 8 instead of 24. Its
6 layers against 24 flatter one thing: the last feed-forward network, which ours computes for supervised
positions only, is 14 % of the language model's layers instead of 4 %.

The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed

from benchmarks.published_mixtures import make_images, write_mixture
from rsunivlm.data.collation import Collator, PackCollator
from rsunivlm.data.dataset import PackedSamples, TrainingSamples
from rsunivlm.data.mixtures import Mixture
from rsunivlm.models.rsunivlm.experts import ExpertDispatch, GranularityExperts
from rsunivlm.models.rsunivlm.segment_attention import NAME as SEGMENTS
from rsunivlm.training.build import load_model, load_processor
from rsunivlm.training.family_rsunivlm import image_encoder
from rsunivlm.training.features import attach_features
from rsunivlm.training.metrics import TrainingFlops
from rsunivlm.training.recipe import Recipe
from rsunivlm.training.stages import prepare_stage
from rsunivlm.training.trainer import RSUniVLMTrainer, training_arguments

ROOT = Path(__file__).resolve().parents[1]
MODELS: dict[str, dict[str, Any]] = {
    "small": {
        "vision": {
            "timm_model": "vit_small_patch16_224",
            "timm_args": {"embed_dim": 288, "depth": 6, "class_token": False, "global_pool": "avg"},
            "feature_index": 4,
            "image_size": 224,
            "hidden_size": 288,
            "tokens_per_side": 14,
        },
        "text": {
            "vocab_size": 8192,
            "hidden_size": 192,
            "intermediate_size": 1024,
            "num_hidden_layers": 6,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
        },
        "mask_codec": {"grid": 8},
    },
    "full": {},
}
SKIPPED_STEPS = 2  # kernels are chosen in the first ones


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
    """Notes when each step ends, by the clock and in CPU time of this process."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, float]] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock."""
        self.ends.append((time.perf_counter(), time.process_time()))

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Note the end of a step."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append((time.perf_counter(), time.process_time()))


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=tuple(MODELS), default="small")
    parser.add_argument("--stage", type=int, choices=(1, 2), action="append")
    parser.add_argument("--samples", type=int, default=240, help="samples of the epoch")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side, in turn")
    parser.add_argument("--batch-size", type=int, default=4, help="rows of a plain batch (the paper's 4)")
    parser.add_argument("--pack-length", type=int, default=2048, help="tokens of a packed row")
    parser.add_argument("--max-images", type=int, default=16, help="images of a packed row")
    parser.add_argument("--share-images", type=int, default=4, help="samples that share an image; 0: none")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        small = arguments.size == "small"
        make_images(folder / "data", arguments.samples, 224 if small else 384, 8 if small else 24)
        results = [measure(stage, arguments, folder) for stage in (arguments.stage or (1, 2))]
    for result in results:
        ours, plain = result["ours"], result["plain"]
        features = ""
        if result["stage"] == 2:
            features = (
                f"; with the features' computation {result['ratio_with_features']:.2f} x "
                f"({result['cpu_ratio_with_features']:.2f} x)"
            )
        print(
            f"stage {result['stage']}: {ours['samples_per_s']:.2f} against {plain['samples_per_s']:.2f} "
            f"samples/s, {ours['supervised_tokens_per_s']:.0f} against "
            f"{plain['supervised_tokens_per_s']:.0f} supervised tokens/s: {result['ratio']:.2f} x "
            f"({result['cpu_ratio']:.2f} x in CPU time){features}; "
            f"peak memory {ours['peak_gib']:.2f} against {plain['peak_gib']:.2f} GiB; "
            f"{result['image_share']:.0%} image tokens, {result['samples_per_image']:.2f} samples an image"
        )
    print(json.dumps({"benchmark": "train_throughput", "size": arguments.size, "stages": results}))


def measure(stage: int, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Both sides of one stage."""
    entries = write_mixture(stage, arguments.samples, folder / "data", folder / f"records{stage}")
    recipe = Recipe(
        name="throughput",
        stage=1,
        mixture={"datasets": entries},
        model={"tokenizer": str(ROOT / "playground/checkpoints/nano"), **MODELS[arguments.size]},
        batch_size=arguments.batch_size,
        max_length=arguments.pack_length,
        max_images=arguments.max_images,
        share_images=arguments.share_images,
        precision="auto",
        log_every=1000,
    )
    sides: dict[str, list[dict[str, float]]] = {"ours": [], "plain": []}
    for _ in range(arguments.repeats):
        for side, run in (("plain", run_plain), ("ours", run_ours)):
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
                sides[side].append(process.submit(run_side, run, recipe, stage, folder).result())
    summary: dict[str, Any] = {"stage": stage}
    for side, runs in sides.items():
        summary[side] = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        summary[side]["runs"] = [round(run["samples_per_s"], 2) for run in runs]
    for name, unit in (("ratio", "s"), ("cpu_ratio", "cpu_s")):
        ours, plain = (summary[side][f"samples_per_{unit}"] for side in ("ours", "plain"))
        summary[name] = ours / plain
        if stage == 2:
            # What the features of an image cost is paid for by all its samples of the epoch.
            cost = summary["ours"][f"features_{unit}"] / arguments.samples
            summary[f"{name}_with_features"] = 1 / (1 / ours + cost) / plain
    return summary | describe(recipe)


def describe(recipe: Recipe) -> dict[str, float]:
    """What the samples look like: the share of image tokens, and how many are about one image or pair."""
    processor = load_processor(recipe)
    mixture = Mixture.load(recipe.mixture)
    measures = TrainingSamples(mixture, processor, 1, recipe.max_length).loader.measure(
        mixture.plan(0), recipe.max_length
    )
    image_tokens = processor.num_image_tokens * measures.images.sum()
    return {
        "image_share": float(image_tokens / measures.lengths.sum()),
        "samples_per_image": len(measures.shown) / len(set(measures.shown.tolist())),
    }


def run_side(
    run: Callable[..., dict[str, float]], recipe: Recipe, stage: int, folder: Path
) -> dict[str, float]:
    """One run of one side, in a fresh process."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    set_seed(0)
    processor = load_processor(recipe)
    model = prepare_stage(load_model(recipe, processor), stage)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        figures = run(model, processor, Mixture.load(recipe.mixture), recipe, stage, Path(scratch))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated()
    return figures | {"peak_gib": peak / 2**30}


def run_plain(
    model: Any, processor: Any, mixture: Mixture, recipe: Recipe, stage: int, folder: Path
) -> dict[str, float]:
    """Padded batches, full scores, listed experts, the stock Trainer."""
    if stage == 2:
        for layer in model.model.language_model.layers:
            layer.mlp = ListedExperts(layer.mlp)
    samples = TrainingSamples(mixture, processor, len(mixture), recipe.max_length)
    collate = Collator(processor.tokenizer.pad_token_id, model.config.num_experts)

    def plain(rows: Any) -> dict[str, Any]:
        batch = collate(rows)
        del batch["loss_positions"], batch["loss_splits"]
        longest = max(batch.pop("info").lengths)  # ours pads to a multiple of 32
        return batch | {key: batch[key][:, :longest] for key in ("input_ids", "attention_mask", "labels")}

    ours = training_arguments(recipe, folder, distributed=False)
    default = next(field.default for field in dataclasses.fields(TrainingArguments) if field.name == "optim")
    times = StepTimes()
    trainer = Trainer(
        model=model,
        args=dataclasses.replace(ours, optim=default),
        data_collator=plain,
        train_dataset=samples,
        callbacks=[times],
    )
    order = list(trainer.get_train_dataloader().sampler)
    trainer.train()
    lengths = [int((samples[index].labels != -100).sum()) for index in order]
    steps = [
        lengths[start : start + recipe.batch_size] for start in range(0, len(lengths), recipe.batch_size)
    ]
    return _rates(times.ends, steps)


def run_ours(
    model: Any, processor: Any, mixture: Mixture, recipe: Recipe, stage: int, folder: Path
) -> dict[str, float]:
    """Packs that share images, supervised positions, stacked experts; stage 2 with embeddings from disk."""
    model.set_attn_implementation({"text_config": SEGMENTS})
    num_experts = model.config.num_experts
    samples = PackedSamples(
        mixture,
        processor,
        recipe.max_length,
        max_images=recipe.max_images,
        share_images=recipe.share_images,
        num_experts=num_experts,
    )
    arguments = training_arguments(
        dataclasses.replace(recipe, batch_size=1), folder / "ours", distributed=False
    )
    figures: dict[str, float] = {}
    if stage == 2:
        started = time.perf_counter(), time.process_time()
        attach_features(
            model,
            image_encoder(model),
            processor,
            samples,
            dataclasses.replace(recipe, feature_cache=str(folder / "features")),
            device=arguments.device,
            bf16=arguments.bf16,
            rank=0,
            processes=1,
        )
        figures["features_s"] = time.perf_counter() - started[0]
        figures["features_cpu_s"] = time.process_time() - started[1]
    times = StepTimes()
    pad = processor.tokenizer.pad_token_id
    trainer = RSUniVLMTrainer(
        model=model,
        args=arguments,
        data_collator=PackCollator(pad, num_experts, share_images=recipe.share_images > 0),
        train_dataset=samples,
        processing_class=processor,
        learning_rates={},
        flops=TrainingFlops.of(model),
        callbacks=[times],
    )
    trainer.train()
    steps = [
        [int((sample.labels != -100).sum()) for sample in samples[index]] for index in range(len(samples))
    ]
    return _rates(times.ends, steps) | figures


def _rates(ends: list[tuple[float, float]], steps: list[list[int]]) -> dict[str, float]:
    """Samples and supervised tokens per second, given the supervised tokens of each sample of each step."""
    seconds, cpu_seconds = (end - start for start, end in zip(ends[SKIPPED_STEPS], ends[-1], strict=True))
    counted = steps[SKIPPED_STEPS:]
    samples = sum(map(len, counted))
    return {
        "samples_per_s": samples / seconds,
        "samples_per_cpu_s": samples / cpu_seconds,
        "supervised_tokens_per_s": sum(map(sum, counted)) / seconds,
        "steps": float(len(counted)),
    }


if __name__ == "__main__":
    main()
