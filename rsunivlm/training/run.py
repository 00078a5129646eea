"""One training run, from a recipe to a published checkpoint.

Everything a user can get wrong (paths, records, settings, the starting checkpoint) is checked before the
model is built. The result appears under its final name only when it is complete; with it goes
`training.json`: the recipe, what was trained on, the loss curve and the versions.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import math
import os
import platform
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from transformers import ProgressCallback, set_seed
from transformers.integrations import TensorBoardCallback

from rsunivlm.data.collation import Collator, PackCollator
from rsunivlm.data.dataset import PackedSamples, TrainingSamples
from rsunivlm.data.mixtures import Mixture
from rsunivlm.models.rsunivlm.segment_attention import NAME as SEGMENTS
from rsunivlm.training.build import load_model, load_processor
from rsunivlm.training.features import attach_features
from rsunivlm.training.recipe import Recipe
from rsunivlm.training.stages import freeze_parts, prepare_stage
from rsunivlm.training.trainer import PublishEvery, RSUniVLMTrainer, training_arguments

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
    if output.exists() and not recipe.overwrite:
        raise ValueError(f"{output} exists; choose another output or set overwrite=true")
    if recipe.deepspeed and not Path(recipe.deepspeed).is_file():
        raise ValueError(f"deepspeed: no such configuration file: {recipe.deepspeed}")
    mixture = load_mixture(recipe)
    processor = load_processor(recipe)
    processes = int(os.environ.get("WORLD_SIZE", 1))
    global_batch = recipe.batch_size * recipe.gradient_accumulation * processes
    # The last step is filled from the plan of the next epoch, so that all steps weigh the same.
    samples: TrainingSamples | PackedSamples
    if recipe.packing:
        samples = PackedSamples(
            mixture,
            processor,
            recipe.max_length,
            epochs=recipe.epochs,
            num_packs=recipe.max_steps * global_batch,
            multiple=global_batch,
            max_images=recipe.max_images,
        )
    else:
        steps = recipe.max_steps or math.ceil(recipe.epochs * len(mixture) / global_batch)
        samples = TrainingSamples(
            mixture,
            processor,
            steps * global_batch,
            recipe.max_length,
            global_batch=recipe.batch_size * processes,
            length_window=recipe.length_window,
        )

    set_seed(recipe.seed)
    # Before TrainingArguments: under ZeRO-3 these make models in shards, which upcycling cannot read.
    model = prepare_stage(load_model(recipe, processor), recipe.stage)
    learning_rates = freeze_parts(model, recipe.learning_rates)
    if recipe.packing:
        model.set_attn_implementation({"text_config": SEGMENTS})
    if recipe.gradient_checkpointing:
        # Re-entrant checkpointing would lose the gradient where a frozen part feeds the experts.
        model.gradient_checkpointing_enable({"use_reentrant": False})
    collator = PackCollator if recipe.packing else Collator
    scratch = output.with_name(f".{output.name}.scratch")
    arguments = training_arguments(recipe, scratch, distributed="RANK" in os.environ)
    if recipe.feature_cache:
        attach_features(
            model,
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
        data_collator=collator(processor.tokenizer.pad_token_id, model.config.num_experts),
        train_dataset=samples,
        processing_class=processor,
        learning_rates=learning_rates,
        callbacks=[_tensorboard(output)] if int(os.environ.get("RANK", 0)) == 0 else [],
    )
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    started = time.time()

    def publish() -> None:
        report = _report(recipe, mixture, trainer, trained, global_batch, time.time() - started)
        trainer.publish(output, recipe.save_dtype, report)

    if recipe.save_every:
        trainer.add_callback(PublishEvery(recipe.save_every, publish))
    try:
        trainer.train()
        publish()
    finally:
        progress = trainer.pop_callback(ProgressCallback)
        if progress is not None and progress.training_bar is not None:
            progress.training_bar.close()  # so that an error message begins on a line of its own
        if trainer.is_world_process_zero():
            shutil.rmtree(scratch, ignore_errors=True)
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


def _tensorboard(output: Path) -> TensorBoardCallback:
    from torch.utils.tensorboard import SummaryWriter  # an extra: only training needs it

    return TensorBoardCallback(SummaryWriter(output.parent / "logs" / output.name))


def _report(
    recipe: Recipe,
    mixture: Mixture,
    trainer: RSUniVLMTrainer,
    trained: int,
    global_batch: int,
    seconds: float,
) -> dict[str, Any]:
    """Content of `training.json`."""
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


def _installed(name: str) -> bool:
    return any(True for _ in importlib.metadata.distributions(name=name))
