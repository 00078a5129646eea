"""What a run tells about itself besides its loss: the loss of each task, speed, and what the speed is worth.

Everything is counted on the host from what the collator knows; only the losses stay on the device until they
are logged. Model FLOPs utilisation (MFU) is the arithmetic that the model needs, by its parameters, over what
the device could do in the time: a multiplication and an addition per parameter and position in the forward
pass, as many for the gradient of its input and as many again for the gradient of the parameter where it is
trained. The last layer's feed-forward network counts for supervised tokens only, since only these run through
it; what samples share counts once. Attention scores are left out (about a tenth at 900 tokens a sample), so
is what is computed twice.

Shapes: M supervised tokens, T tasks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from rsunivlm.data.collation import BatchInfo
from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration
from rsunivlm.tasks import Task

_TASKS = {task.value: index for index, task in enumerate(Task)}

# Dense bfloat16 TFLOP/s by the makers' data sheets, by part of the device's name; the first hit counts.
_PEAK_TFLOPS = {
    "B200": 2250,
    "H200": 989,
    "H100 PCIe": 756,
    "H100": 989,
    "A100": 312,
    "A40": 149.7,
    "L40S": 362,
    "RTX 4090": 165,
}


def peak_flops(device: torch.device, bf16: bool) -> float | None:
    """Floating-point operations a second that a device can do in bfloat16; None where it is not known."""
    if device.type != "cuda" or not bf16:
        return None
    name = torch.cuda.get_device_name(device)
    return next((1e12 * peak for part, peak in _PEAK_TFLOPS.items() if part in name), None)


@dataclass(frozen=True)
class TrainingFlops:
    """Floating-point operations of a training step's parts.

    Attributes:
        per_token: of the language model, for a token that is not supervised.
        per_image: of vision tower and connector, for an image that is encoded.
        per_target: of the head and of what the last layer does for it, for a supervised token.
        per_sample: of what looks at an image anew for every sample.
    """

    per_token: float
    per_image: float
    per_target: float
    per_sample: float = 0.0

    @classmethod
    def of(cls, model: RSUniVLMForConditionalGeneration) -> TrainingFlops:
        """Count a model as it stands, with what is frozen in it."""
        core = model.model
        tower, connector = module_flops(core.vision_tower), module_flops(core.multi_modal_projector)
        # CODEPATH: a token router's balance loss reads every token of the last layer.
        routed = model.config.text_config.num_routed_experts
        last = 0 if routed else _network_flops(core.language_model.layers[-1].mlp)
        return cls(
            per_token=sum(map(_layer_flops, core.language_model.layers)) - last,
            per_image=model.config.num_image_tokens * (tower + connector),
            per_target=module_flops(model.lm_head, gradient_passes=True) + last,
        )


class TrainingMeter:
    """Counts what one process does between two log entries."""

    def __init__(self, flops: TrainingFlops, device: torch.device, peak: float | None) -> None:
        """Start counting.

        Args:
            flops: Of the model.
            device: Where losses are summed.
            peak: Operations a second of the device; None leaves out the MFU.
        """
        self.flops = flops
        self.device = device
        self.peak = peak
        self._begin()

    def _begin(self) -> None:
        self._since = time.perf_counter()
        self._samples = self._tokens = 0
        self._waited = self._operations = 0.0
        self._counts = [0] * len(_TASKS)
        self._losses_T = torch.zeros(len(_TASKS), device=self.device)

    def waited(self, seconds: float) -> None:
        """Note time spent waiting for the loader."""
        self._waited += seconds

    def add(self, info: BatchInfo, token_losses_M: torch.Tensor, num_images: int) -> None:
        """Note a batch that was trained on.

        Args:
            info: Its samples.
            token_losses_M: Loss of each supervised token.
            num_images: Images that went through the vision tower.
        """
        self._samples += len(info.names)
        self._tokens += sum(info.lengths)
        self._operations += (
            self.flops.per_token * sum(info.lengths)
            + self.flops.per_image * num_images
            + self.flops.per_target * sum(info.supervised)
            + self.flops.per_sample * len(info.names)
        )
        tasks = torch.tensor([_TASKS[task] for task in info.tasks])
        tasks_M = tasks.repeat_interleave(torch.tensor(info.supervised)).to(self.device, non_blocking=True)
        self._losses_T.index_add_(0, tasks_M, token_losses_M.float())
        for task, supervised in zip(info.tasks, info.supervised, strict=True):
            self._counts[_TASKS[task]] += supervised

    def report(self, processes: int, total: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, float]:
        """Figures since the last report, and begin anew. All processes call it.

        Args:
            processes: Their number.
            total: Sums a tensor over the processes.

        Returns:
            `loss/<task>`, mean over the supervised tokens of each task met; `samples_per_second`,
            `tokens_per_second` (images included, padding not) of all processes together; `data_wait`, the
            share of the time spent waiting for the loader; `mfu` where the device is known.
        """
        seconds = time.perf_counter() - self._since
        figures = [self._samples, self._tokens, self._waited, self._operations, *self._counts]
        summed = total(torch.cat([torch.tensor(figures, device=self.device), self._losses_T])).tolist()
        samples, tokens, waited, operations = summed[:4]
        counts, losses = summed[4 : 4 + len(_TASKS)], summed[4 + len(_TASKS) :]
        report = {
            f"loss/{task}": losses[index] / counts[index] for task, index in _TASKS.items() if counts[index]
        }
        report["samples_per_second"] = samples / seconds
        report["tokens_per_second"] = tokens / seconds
        report["data_wait"] = waited / seconds / processes
        if self.peak is not None:
            report["mfu"] = operations / seconds / processes / self.peak
        self._begin()
        return report


def module_flops(module: nn.Module, gradient_passes: bool = False) -> int:
    """Operations for one position that meets every parameter once.

    Args:
        module: A part of the model.
        gradient_passes: What lies before it needs a gradient, also where nothing in it is trained.
    """
    trained = any(parameter.requires_grad for parameter in module.parameters())
    passing = 2 if trained or gradient_passes else 0
    return sum(p.numel() * (2 + passing + 2 * p.requires_grad) for p in module.parameters())


def _layer_flops(layer: Any) -> int:
    """Operations of a layer of the language model for one token."""
    everything = module_flops(layer, gradient_passes=True)
    return everything - module_flops(layer.mlp, gradient_passes=True) + _network_flops(layer.mlp)


def _network_flops(mlp: Any) -> int:
    """Operations of a feed-forward network for one token, which does not meet all experts."""
    trained = any(parameter.requires_grad for parameter in mlp.parameters())
    return module_flops(mlp, gradient_passes=True) - mlp.idle_parameters * (6 if trained else 4)
