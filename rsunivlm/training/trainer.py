"""transformers' Trainer, with our order of samples, our parameter groups and our way of publishing.

The loop, mixed precision, gradient accumulation, DeepSpeed and logging are the library's. The loss is the sum
over the supervised tokens divided by their number in the *global* batch (`num_items_in_batch`, summed over
accumulation steps and processes), so that splitting a batch differently does not change the gradient.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import SequentialSampler
from transformers import (
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.utils import is_torch_bf16_gpu_available

from rsunivlm.training.recipe import Recipe
from rsunivlm.training.stages import frozen_modules

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def training_arguments(recipe: Recipe, scratch: Path, distributed: bool) -> TrainingArguments:
    """Translate a recipe for the Trainer.

    Args:
        recipe: The run.
        scratch: Folder for whatever the Trainer writes on the way.
        distributed: A launcher started this process; DeepSpeed takes part if the recipe has a configuration.
    """
    on_cpu = not torch.accelerator.is_available()
    with_deepspeed = distributed and bool(recipe.deepspeed)
    if with_deepspeed and on_cpu:
        _use_plain_gloo()
    arguments = TrainingArguments(
        output_dir=str(scratch),
        # The data set is the whole run, epochs included (see `rsunivlm.data.dataset`).
        num_train_epochs=1,
        per_device_train_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.gradient_accumulation,
        average_tokens_across_devices=True,
        optim="adamw_torch",
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=recipe.warmup_ratio,  # below 1 it is a share of the steps
        max_grad_norm=recipe.max_grad_norm,
        bf16=recipe.precision == "bf16" or (recipe.precision == "auto" and is_torch_bf16_gpu_available()),
        use_cpu=on_cpu,
        deepspeed=recipe.deepspeed if with_deepspeed else None,
        seed=recipe.seed,
        remove_unused_columns=False,
        dataloader_num_workers=recipe.workers,
        dataloader_pin_memory=not on_cpu,
        logging_steps=recipe.log_every,
        logging_first_step=True,
        logging_nan_inf_filter=False,  # a loss that is not finite must be seen
        report_to="none",  # tensorboard is attached by the run, which knows where
        save_strategy="no",
    )
    # One device per process: several would be driven by DataParallel, which parts rows from their images.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def _use_plain_gloo() -> None:
    """Keep DeepSpeed from compiling its shared-memory all-reduce for CPUs: it takes a compiler and 20 s."""
    import deepspeed.ops  # an extra: only training under a launcher needs it

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


class RSUniVLMTrainer(Trainer):
    """Trainer whose samples come in the planned order and whose frozen parts stay as they are."""

    def __init__(self, *, learning_rates: Mapping[str, float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.learning_rates = dict(learning_rates)
        self.frozen_modules = frozen_modules(self.model)

    def _get_train_sampler(self, *_: Any) -> SequentialSampler:
        """Positions in order; which sample stands at a position is the mixture's plan."""
        return SequentialSampler(self.train_dataset)

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        """As the library's, with frozen modules in evaluation mode: no drop-out in what does not learn."""
        for module in self.frozen_modules:
            module.eval()
        return super().compute_loss(*args, **kwargs)

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW, with the recipe's own learning rates for parts of the model.

        Raises:
            ValueError: A prefix of `learning_rates` names no trained parameter.
        """
        if not self.learning_rates:
            return super().create_optimizer(model)
        decaying = set(self.get_decay_parameter_names(self.model))
        groups: dict[tuple[str, bool], list[torch.nn.Parameter]] = {}
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                prefixes = [key for key in self.learning_rates if name.startswith(key)]
                prefix = max(prefixes, key=len, default="")
                groups.setdefault((prefix, name in decaying), []).append(parameter)
        if unused := set(self.learning_rates) - {prefix for prefix, _ in groups}:
            raise ValueError(f"learning_rates: no trained parameter begins with {', '.join(sorted(unused))}")
        optimizer_class, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
        self.optimizer = optimizer_class(
            [
                {
                    "params": parameters,
                    "lr": self.learning_rates.get(prefix, self.args.learning_rate),
                    "weight_decay": self.args.weight_decay if decays else 0.0,
                }
                for (prefix, decays), parameters in groups.items()
            ],
            **options,
        )
        return self.optimizer

    def publish(self, folder: Path, save_dtype: str, report: Mapping[str, Any]) -> None:
        """Write model, processor and `training.json`: complete or not at all. All processes call it.

        Args:
            folder: Where the checkpoint appears; an earlier one is replaced.
            save_dtype: `fp32` or `bf16`.
            report: Content of `training.json`.
        """
        # Gathers the shards under ZeRO-3, so every process takes part.
        state = self.accelerator.get_state_dict(self.model_wrapped)
        if self.is_world_process_zero():
            partial = folder.with_name(f".{folder.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            dtype = _DTYPES[save_dtype]
            tied = self.model.all_tied_weights_keys
            state = {name: tensor.to(dtype) for name, tensor in state.items() if name not in tied}
            _write_model(self.model, state, dtype, partial)
            self.processing_class.save_pretrained(partial)
            (partial / "training.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
            replace_folder(partial, folder)
        self.accelerator.wait_for_everyone()


class PublishEvery(TrainerCallback):
    """Publish the weights so far every so many steps."""

    def __init__(self, steps: int, publish: Callable[[], None]) -> None:
        self.steps = steps
        self.publish = publish

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Publish when it is time."""
        if state.global_step % self.steps == 0 and state.global_step < state.max_steps:
            self.publish()


def replace_folder(new: Path, folder: Path) -> None:
    """Rename `new` to `folder`; an earlier `folder` goes only once the new one has its name."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(new, folder)
    shutil.rmtree(old, ignore_errors=True)


def _write_model(
    model: PreTrainedModel, state: dict[str, torch.Tensor], dtype: torch.dtype, folder: Path
) -> None:
    model.save_pretrained(folder, state_dict=state)
    # save_pretrained notes the type of the model in memory; loaders should see the type of the file.
    config_file = folder / "config.json"
    config = json.loads(config_file.read_text(encoding="utf-8"))
    for part in (config, config["vision_config"], config["text_config"]):
        part["dtype"] = str(dtype).removeprefix("torch.")
    config_file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
