"""transformers' Trainer, with our order of samples, parameter groups, guards, checkpoints and publishing.

The loop, mixed precision, gradient accumulation, DeepSpeed and logging are the library's. The loss is the sum
over the supervised tokens divided by their number in the *global* batch (`num_items_in_batch`, summed over
accumulation steps and processes), so that splitting a batch differently does not change the gradient.

A resumed run skips positions, not samples: the library cuts the list of positions before the loader sees it.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
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

from rsunivlm.training.checkpointing import CheckpointStore
from rsunivlm.training.guards import FiniteGuard, LocalError, Quarantine, StoppedElsewhereError
from rsunivlm.training.lora import (
    ADAPTER_FOLDER,
    lora_config,
    merged_state,
    parted_modules,
    save_adapter,
)
from rsunivlm.training.metrics import TrainingFlops, TrainingMeter, peak_flops
from rsunivlm.training.recipe import Recipe
from rsunivlm.training.stages import frozen_modules

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_WEIGHTS = "model.safetensors"  # in a checkpoint
# What torch.save says, in a RuntimeError, where a file cannot be written to its end.
_TORN_FILE = ("inline_container", "iostream error")


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
        optim="adamw_torch_fused",
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
        report_to="none",  # the run attaches what the recipe names
        run_name=f"{recipe.name} stage {recipe.stage}",
        project="rsunivlm",
        save_strategy="no",  # `CheckpointEvery` says when
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

    def __init__(
        self,
        *,
        learning_rates: Mapping[str, float],
        flops: TrainingFlops,
        store: CheckpointStore | None = None,
        quarantine: Quarantine | None = None,
        **kwargs: Any,
    ) -> None:
        """Prepare to train.

        Args:
            learning_rates: Peaks of their own for parts of the model, by prefix of the parameter name.
            flops: Operations of the model.
            store: Takes the checkpoints; the arguments' output folder must be its `partial`.
            quarantine: Lists images that cannot be read.
            **kwargs: Of the library's Trainer.
        """
        super().__init__(**kwargs)
        self.learning_rates = dict(learning_rates)
        self.store = store
        self.quarantine = quarantine
        self.frozen_modules = frozen_modules(self.model)
        rank, processes, device = self.args.process_index, self.args.world_size, self.args.device
        self.guard = FiniteGuard(rank, processes)
        self.meter = TrainingMeter(flops, device, peak_flops(device, self.args.bf16))

    def _get_train_sampler(self, *_: Any) -> SequentialSampler:
        """Positions in order; which sample stands at a position is the mixture's plan."""
        return SequentialSampler(self.train_dataset)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], int]:
        """Fetch the batches of a step, and learn from the other processes what they have fetched.

        Returns:
            The batches of this process, and the supervised tokens of all processes (at least 1).

        Raises:
            LocalError: A sample of this process cannot be loaded.
            ValueError: Too many images are bad.
            StoppedElsewhereError: The same has happened in another process.
        """
        started = time.perf_counter()
        batches: list[Any] = []
        mistake = None
        try:
            batches.extend(itertools.islice(epoch_iterator, num_batches))
        except ValueError as error:
            mistake = error
        self.meter.waited(time.perf_counter() - started)
        supervised = sum(sum(batch["info"].supervised) for batch in batches)
        bad = [image for batch in batches for image in batch["info"].bad]
        counts = torch.tensor([supervised, len(bad), int(mistake is not None)], device=device)
        supervised, num_bad, mistakes = self._total(counts).tolist()
        if mistake is not None:
            raise LocalError(str(mistake)) from mistake
        if mistakes:
            raise StoppedElsewhereError
        if num_bad and self.quarantine is not None:
            self.quarantine.add(gather_object(bad), first=self.is_world_process_zero())
        return batches, max(1, supervised)

    def _total(self, counts: torch.Tensor) -> torch.Tensor:
        """Sum over the processes."""
        if self.args.world_size > 1:
            torch.distributed.all_reduce(counts)
        return counts

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """As the library's, with frozen modules in evaluation mode: no drop-out in what does not learn.

        Raises:
            ValueError: The loss of a process is not finite.
            StoppedElsewhereError: The same, in processes other than the first.
        """
        for module in self.frozen_modules:
            module.eval()
        info = inputs.pop("info")
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        self.meter.add(info, outputs["token_losses"], len(inputs.get("pixel_values", ())))
        self.guard.add(info, outputs["token_losses"])
        if self.accelerator.sync_gradients:
            # Here, because DeepSpeed steps at the end of its backward pass.
            self.guard.check_losses(self.state.global_step + 1)
        return (loss, outputs) if return_outputs else loss

    def _get_grad_norm(self, model: torch.nn.Module, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        skipped = self.accelerator.optimizer_step_was_skipped
        self.guard.check_gradient(norm, skipped, self.state.global_step + 1)
        return norm

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """As the library's, with the figures of `TrainingMeter` beside the loss."""
        if "loss" in logs:
            logs |= self.meter.report(self.args.world_size, self._total)
        super().log(logs, *args, **kwargs)

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        """Write a checkpoint: complete or not at all. All processes call it.

        Raises:
            LocalError: This process cannot write, as on a full disk; names folder, free space and the mend.
        """
        assert self.store is not None  # without a store, nothing asks for checkpoints
        step = self.state.global_step
        if self.is_world_process_zero():
            self.store.prepare()
        self.accelerator.wait_for_everyone()
        written = self.store.partial / f"checkpoint-{step}"
        try:
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            share = self.store.sync(written, self.args.process_index, self.args.world_size)
            shares = gather_object([share])
            if self.is_world_process_zero():
                self.store.seal(written, step, shares)
        except (OSError, RuntimeError, SafetensorError) as error:
            if isinstance(error, RuntimeError) and not any(part in str(error) for part in _TORN_FILE):
                raise
            free = shutil.disk_usage(self.store.folder).free / 1e9
            raise LocalError(
                f"cannot write the checkpoint of step {step} to {self.store.folder} ({error}; {free:.1f} GB "
                "are free there). The earlier checkpoints are whole: make room and start again"
            ) from error
        self.accelerator.wait_for_everyone()

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the weights of a checkpoint; not for DeepSpeed, whose own checkpoint has them."""
        if not self.is_deepspeed_enabled and self.args.should_save:
            folder = Path(output_dir or self.args.output_dir)
            folder.mkdir(parents=True, exist_ok=True)
            save_model(self.model, str(folder / _WEIGHTS))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_model(self.model, Path(resume_from_checkpoint) / _WEIGHTS)

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
            state = {name: tensor for name, tensor in state.items() if name not in tied}
            if lora := lora_config(self.model):
                save_adapter(state, lora, partial / ADAPTER_FOLDER)
                state = merged_state(state, lora.lora_alpha / lora.r, parted_modules(self.model))
            state = {name: tensor.to(dtype) for name, tensor in state.items()}
            _write_model(self.model, state, dtype, partial)
            self.processing_class.save_pretrained(partial)
            (partial / "training.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
            replace_folder(partial, folder)
        self.accelerator.wait_for_everyone()


class CheckpointEvery(TrainerCallback):
    """Ask for a checkpoint every so many steps, and for a log entry with it.

    The log begins anew at a checkpoint, so that a resumed run logs what an undisturbed one does.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Log as often as this start of the run says; the checkpoint knows an earlier one."""
        state.logging_steps = args.logging_steps

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Ask when it is time."""
        if state.global_step % self.steps == 0 and state.global_step < state.max_steps:
            control.should_save = control.should_log = True


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
    for part in (config, *(config[name] for name in model.config.sub_configs)):
        part["dtype"] = str(dtype).removeprefix("torch.")
    config_file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
