"""One training run, from a recipe to a published checkpoint.

Everything a user can get wrong (paths, records, settings, the starting checkpoint) is checked before the
model is built. The result appears under its final name only when it is complete; with it goes
`training.json`: the recipe, what was trained on, the loss curve and the versions.

A run that was interrupted and is started again with the same command continues from its newest checkpoint, in
`.<output>.checkpoints` beside the output, and ends with the weights of an undisturbed run.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import math
import os
import platform
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from transformers import ProgressCallback, TrainerCallback, set_seed
from transformers.integrations import TensorBoardCallback, TrackioCallback, WandbCallback

from rsunivlm.data.mixtures import Mixture
from rsunivlm.models.losses import liger_cross_entropy
from rsunivlm.training.checkpointing import CheckpointStore, binding_settings, run_identity
from rsunivlm.training.family import Family
from rsunivlm.training.family_rs_moe import RSMoEFamily
from rsunivlm.training.family_rsunivlm import RSUniVLMFamily
from rsunivlm.training.features import attach_features
from rsunivlm.training.guards import Quarantine
from rsunivlm.training.recipe import Recipe
from rsunivlm.training.stages import freeze_parts
from rsunivlm.training.trainer import CheckpointEvery, PublishEvery, RSUniVLMTrainer, training_arguments

FAMILIES: Mapping[str, type[Family]] = MappingProxyType({"rsunivlm": RSUniVLMFamily, "rs_moe": RSMoEFamily})
_PACKAGES = ("rsunivlm", "torch", "transformers", "accelerate", "deepspeed", "timm", "numpy", "pillow")


def train(recipe: Recipe) -> Path:
    """Train one stage and publish the result. Under a launcher, every process calls it.

    Args:
        recipe: The run.

    Returns:
        Folder of the checkpoint: safetensors, configuration, processor and `training.json`.

    Raises:
        ValueError: Something in the recipe, the data or the starting checkpoint is wrong; names it.
    """
    output = recipe.output_dir
    _check_output(recipe)
    if recipe.log_to in ("wandb", "trackio") and find_spec(recipe.log_to) is None:
        raise ValueError(f"log_to={recipe.log_to} needs a package: pip install {recipe.log_to}")
    if recipe.deepspeed and not Path(recipe.deepspeed).is_file():
        raise ValueError(f"deepspeed: no such configuration file: {recipe.deepspeed}")
    _check_fused_loss(recipe)
    family = FAMILIES[recipe.family](recipe)
    mixture = load_mixture(recipe)
    processor = family.load_processor()
    processes = int(os.environ.get("WORLD_SIZE", 1))
    samples = family.plan(mixture, processor, processes)
    store = CheckpointStore(
        output.with_name(f".{output.name}.checkpoints"),
        run_identity(recipe, mixture, samples, processes),
        recipe.keep_checkpoints,
    )
    resumed = store.newest() if recipe.resume else None
    quarantine = Quarantine(
        output.with_name(f"{output.name}.bad_images.jsonl"), recipe.max_bad_images, samples.loader
    )
    if resumed:
        quarantine.resume()

    set_seed(recipe.seed)
    # Before TrainingArguments: under ZeRO-3 these make models in shards, which upcycling cannot read.
    model: Any = family.load_model(processor)
    learning_rates = freeze_parts(model, recipe.learning_rates)
    if recipe.fused_loss == "liger":
        model.supervised_loss = liger_cross_entropy
    if recipe.gradient_checkpointing:
        # Re-entrant checkpointing would lose the gradient where a frozen part feeds the experts.
        model.gradient_checkpointing_enable({"use_reentrant": False})
    arguments = training_arguments(recipe, store.partial, distributed="RANK" in os.environ)
    first = arguments.process_index == 0
    if first and not resumed:
        store.clear()
        quarantine.file.unlink(missing_ok=True)
    if recipe.feature_cache:
        attach_features(
            model,
            family.encoder(model),
            processor,
            samples,
            recipe,
            device=arguments.device,
            bf16=arguments.bf16,
            rank=arguments.process_index,
            processes=processes,
        )
    trainer = RSUniVLMTrainer(
        model=model,
        args=arguments,
        data_collator=family.collator(processor),
        train_dataset=samples,
        processing_class=processor,
        learning_rates=learning_rates,
        flops=family.flops(model),
        store=store,
        quarantine=quarantine,
        callbacks=_log_callbacks(recipe, resumed) if first else [],
    )
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    started = time.time()

    def publish() -> None:
        report = _report(recipe, mixture, trainer, trained, time.time() - started)
        report["data"] |= family.report(samples)
        trainer.publish(output, recipe.save_dtype, report)

    if recipe.save_every:
        trainer.add_callback(PublishEvery(recipe.save_every, publish))
    if recipe.checkpoint_every:
        trainer.add_callback(CheckpointEvery(recipe.checkpoint_every))
    try:
        trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
        publish()
        if first:
            store.clear()
    finally:
        progress = trainer.pop_callback(ProgressCallback)
        if progress is not None and progress.training_bar is not None:
            progress.training_bar.close()  # so that an error message begins on a line of its own
        if first:
            store.discard_partial()
        if torch.distributed.is_initialized():
            # Left to the interpreter's exit, gloo's threads abort the process.
            torch.distributed.destroy_process_group()
    return output


def load_mixture(recipe: Recipe) -> Mixture:
    """Open the recipe's mixture, ordered by the run's seed unless it has its own.

    Raises:
        ValueError: See `Mixture.load`.
    """
    if isinstance(recipe.mixture, str):
        return Mixture.load(recipe.mixture)
    return Mixture.load({"seed": recipe.seed, **recipe.mixture})


def _check_output(recipe: Recipe) -> None:
    """Refuse an output that is there, unless the run may replace it or has published it on its way.

    Raises:
        ValueError: Names the output and the mend.
    """
    output = recipe.output_dir
    if recipe.overwrite or not output.exists():
        return
    report = output / "training.json"
    if recipe.resume and report.is_file():
        earlier = json.loads(report.read_text(encoding="utf-8"))
        now = json.loads(json.dumps(dataclasses.asdict(recipe)))
        same = binding_settings(earlier["recipe"]) == binding_settings(now)
        if same and not earlier.get("finished", True):
            return
    raise ValueError(f"{output} exists; choose another output or set overwrite=true")


def _check_fused_loss(recipe: Recipe) -> None:
    """Refuse a fused loss that cannot run here.

    Raises:
        ValueError: The package or the GPU is missing, or the head is sharded; names the mend.
    """
    if recipe.fused_loss == "none":
        return
    if find_spec("liger_kernel") is None:
        raise ValueError("fused_loss=liger needs a package: pip install 'liger-kernel>=0.8'")
    if not torch.cuda.is_available():
        raise ValueError(
            "fused_loss=liger needs a GPU that Triton knows; leave fused_loss out on this machine"
        )
    if recipe.deepspeed and _zero_stage(Path(recipe.deepspeed)) == 3:
        raise ValueError(
            f"fused_loss=liger needs the whole head, which {recipe.deepspeed} shards (ZeRO 3); "
            "take scripts/zero2.json or leave fused_loss out"
        )


def _log_callbacks(recipe: Recipe, resumed: Path | None) -> list[TrainerCallback]:
    """What the log goes to."""
    if recipe.log_to == "tensorboard":
        from torch.utils.tensorboard import SummaryWriter  # an extra: only training needs it

        output = recipe.output_dir
        # What an interrupted start has logged behind its last checkpoint is hidden: it comes again.
        purge = int(resumed.name.removeprefix("step-")) + 1 if resumed else None
        return [TensorBoardCallback(SummaryWriter(output.parent / "logs" / output.name, purge_step=purge))]
    callbacks = {"wandb": WandbCallback, "trackio": TrackioCallback}
    return [callbacks[recipe.log_to]()] if recipe.log_to in callbacks else []


def _report(
    recipe: Recipe,
    mixture: Mixture,
    trainer: RSUniVLMTrainer,
    trained: int,
    seconds: float,
) -> dict[str, Any]:
    """Content of `training.json`."""
    global_batch = recipe.batch_size * recipe.gradient_accumulation * trainer.args.world_size
    losses = [(entry["step"], entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
    thinned = losses[:: math.ceil(len(losses) / 50)] if losses else []
    return {
        "recipe": dataclasses.asdict(recipe),
        "data": {
            dataset.name: {"records": len(dataset.records), "samples_per_epoch": dataset.taken}
            for dataset in mixture.datasets
        },
        "seeds": {"run": recipe.seed, "mixture": mixture.seed},
        "steps": trainer.state.global_step,
        "finished": trainer.state.global_step >= trainer.state.max_steps,
        "global_batch": global_batch,
        "processes": trainer.args.world_size,
        "samples": trainer.state.global_step * global_batch,
        "trained_parameters": trained,
        "seconds": round(seconds, 1),
        "loss": {"first": losses[0][1], "last": losses[-1][1], "curve": thinned} if losses else {},
        "device": str(trainer.args.device.type),
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in _PACKAGES if _installed(name)},
        },
    }


def _zero_stage(file: Path) -> int:
    settings = json.loads(file.read_text(encoding="utf-8"))
    return int(settings.get("zero_optimization", {}).get("stage", 0))


def _installed(name: str) -> bool:
    return any(True for _ in importlib.metadata.distributions(name=name))
