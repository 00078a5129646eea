"""What stops a run before it does harm: numbers that are not finite, and images that cannot be read.

All processes stop together. Each learns of the trouble from a reduction, so none is left waiting in a
collective operation for one that has gone; the first process says what happened and where.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import torch
from accelerate.utils import gather_object

from rsunivlm.data.collation import BatchInfo
from rsunivlm.data.loading import BadImage, PictureLoader

# Names of samples in a message, per process.
_NAMED = 20


class StoppedElsewhereError(RuntimeError):
    """Another process ends the run and says why."""


class LocalError(ValueError):
    """What only this process has met, such as a bad sample or a full disk; the launcher ends the others."""


def stop_all(message: str, first: bool) -> NoReturn:
    """End the run in all processes.

    Args:
        message: What happened and how to mend it.
        first: This process is the one that says it.

    Raises:
        ValueError: In the first process.
        StoppedElsewhereError: In the others.
    """
    if first:
        raise ValueError(message)
    raise StoppedElsewhereError


class FiniteGuard:
    """Remembers the losses of a step and stops before the optimizer uses numbers that are not finite."""

    def __init__(self, rank: int, processes: int) -> None:
        self.rank = rank
        self.processes = processes
        self._batches: list[tuple[BatchInfo, torch.Tensor]] = []

    def add(self, info: BatchInfo, token_losses_M: torch.Tensor) -> None:
        """Note a batch of the step: its samples, and the loss of each supervised token."""
        self._batches.append((info, token_losses_M))

    def check_losses(self, step: int) -> None:
        """Agree with the other processes that the step's losses are finite. All processes call it.

        Raises:
            ValueError: They are not; names the step, and for each process the samples concerned.
            StoppedElsewhereError: The same, in processes other than the first.
        """
        finite = torch.stack([losses_M.isfinite().all() for _, losses_M in self._batches]).all().float()
        if self.processes > 1:
            torch.distributed.all_reduce(finite, torch.distributed.ReduceOp.MIN)
        if not finite:
            names = [
                name
                for info, losses_M in self._batches
                for name, losses_m in zip(info.names, losses_M.split(info.supervised), strict=True)
                if not losses_m.isfinite().all()
            ]
            self._stop(f"step {step}: the loss is not finite", names)

    def check_gradient(self, norm: torch.Tensor | float | None, skipped: bool, step: int) -> None:
        """Check the norm of the step's gradient, which is the same in all processes, and begin a new step.

        Args:
            norm: The norm; None where it was not computed.
            skipped: The optimizer has refused the gradient itself (DeepSpeed steps inside its backward pass).
            step: For the message.

        Raises:
            ValueError: It is not finite; names the step and, for each process, the samples.
            StoppedElsewhereError: The same, in processes other than the first.
        """
        if skipped or (norm is not None and not math.isfinite(norm)):
            names = [name for info, _ in self._batches for name in info.names]
            self._stop(f"step {step}: the gradient is not finite, though the loss is", names)
        self._batches.clear()

    def _stop(self, what: str, names: Sequence[str]) -> NoReturn:
        shown = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if names[_NAMED:] else "")
        where = gather_object([f"process {self.rank}: {shown}"] if names else [])
        stop_all(
            f"{what} ({'; '.join(where)}). The weights were not changed; look at these records, or lower the "
            "learning rate",
            first=self.rank == 0,
        )


class Quarantine:
    """The images that could not be read, in a file beside the output, and the number that is too many."""

    def __init__(self, file: Path, limit: int, loader: PictureLoader) -> None:
        """Open the list.

        Args:
            file: JSON lines: dataset, record, image, reason.
            limit: Images that may be bad.
            loader: Where the run's samples come from; samples are left out if the limit is above 0.
        """
        self.file = file
        self.limit = limit
        self.loader = loader
        self.listed: dict[tuple[str, str], BadImage] = {}
        loader.leave_out = limit > 0

    def resume(self) -> None:
        """Leave out what the interrupted run has left out.

        Raises:
            ValueError: The list is damaged, or longer than the limit.
        """
        if not self.file.is_file():
            return
        roots = {dataset.name: str(dataset.images) for dataset in self.loader.mixture.datasets}
        try:
            found = [BadImage(**json.loads(line)) for line in self.file.read_text("utf-8").splitlines()]
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.file} is damaged ({error}); remove it or set resume=false") from error
        self.listed = {(bad.dataset, bad.record): bad for bad in found}
        for bad in found:
            self.loader.bad_images[roots[bad.dataset], bad.image] = bad.reason
        if message := self._too_many():
            raise ValueError(message)

    def add(self, found: Sequence[BadImage], first: bool) -> None:
        """List bad images that a step has met, and stop above the limit. All processes call it with the same.

        Args:
            found: Met by any process.
            first: This process writes the list.

        Raises:
            ValueError: There are too many; names the list and the last of them.
            StoppedElsewhereError: The same, in processes other than the first.
        """
        known = len(self.listed)
        for bad in found:
            self.listed.setdefault((bad.dataset, bad.record), bad)
        if len(self.listed) == known:
            return
        if first:
            lines = [json.dumps(dataclasses.asdict(bad), ensure_ascii=False) for bad in self.listed.values()]
            partial = self.file.with_name(f".{self.file.name}.partial")
            partial.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
            os.replace(partial, self.file)
        if message := self._too_many():
            stop_all(message, first)

    def _too_many(self) -> str | None:
        images = {(bad.dataset, bad.image) for bad in self.listed.values()}
        if len(images) <= self.limit:
            return None
        last = list(self.listed.values())[-1]
        return (
            f"{len(images)} images cannot be read, more than max_bad_images={self.limit}; they are listed in "
            f"{self.file}. The last: dataset {last.dataset}, record {last.record}: {last.reason}. "
            "Mend them and remove their lines, or raise max_bad_images"
        )
