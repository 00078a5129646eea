"""The models a benchmark can ask, behind one face (`eval.tasks.Answerer`).

``--model DIR`` is a checkpoint of this project, ``--model hf:DIR`` any image-text-to-text model of
transformers, together with ``--coordinates`` and ``--prompt-style``; hub ids do as well as folders.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eval.models.coordinates import SPACES
from eval.processes import local_rank
from eval.prompts import PLAIN, PromptStyle
from eval.tasks import Answerer
from rsunivlm.tasks import Task

if TYPE_CHECKING:  # importing it costs seconds
    import torch

FOREIGN = "hf:"


@dataclass(frozen=True)
class Dialect:
    """How a model that is not ours is asked, and how it writes boxes.

    Attributes:
        coordinates: one of `eval.models.coordinates.SPACES`; None when no task has boxes.
        style: the words of the questions.
    """

    coordinates: str | None
    style: PromptStyle

    @classmethod
    def given(
        cls, model: str | None, tasks: Iterable[Task], coordinates: str | None, style: str | None
    ) -> Dialect | None:
        """As the command line says; None for a checkpoint of this project, which knows its own.

        Raises:
            ValueError: options that the model does not take, or the coordinates are needed and not declared.
        """
        if model is None or not model.startswith(FOREIGN):
            for option, value in (("--coordinates", coordinates), ("--prompt-style", style)):
                if value is not None:
                    raise ValueError(f"{option} is for --model {FOREIGN}...; this model knows its own")
            return None
        boxes = [task for task in tasks if task in (Task.VG, Task.REG)]
        if boxes and coordinates is None:
            raise ValueError(
                f"task {boxes[0]} is about boxes: say with --coordinates how {model} writes them "
                f"({', '.join(SPACES)})"
            )
        return cls(coordinates, PromptStyle.named(style or PLAIN))


def load_answerer(
    model: str | None,
    device: str | None,
    dtype: str | None,
    dialect: Dialect | None = None,
    constrained: bool = False,
    int8: bool = False,
) -> Answerer:
    """The named model, or the bundled checkpoint.

    Args:
        model: as in the head of this file; None for the bundled checkpoint.
        device: torch device; by default a GPU where there is one (each process its own).
        dtype: name of a torch number type; by default bfloat16 on a GPU, else float32.
        dialect: of a model that is not ours.
        constrained: hold the answers of a checkpoint of this project to their grammar.
        int8: make the weights of a checkpoint of this project int8.

    Raises:
        ValueError: It cannot be loaded, or there is no such device or number type; the message says why.
    """
    import torch  # loaded only once the data is known to be good

    from rsunivlm.inference.loading import quiet_libraries

    quiet_libraries()
    torch_dtype = getattr(torch, dtype) if dtype else None
    torch_device = _device(device)
    if dialect is not None and model is not None:
        from eval.models.huggingface import load_foreign

        return load_foreign(model.removeprefix(FOREIGN), dialect, torch_device, torch_dtype)
    from eval.models.checkpoint import load_checkpoint

    return load_checkpoint(model, torch_device, torch_dtype, constrained, int8)


def _device(name: str | None) -> torch.device | None:
    import torch

    if name is None:
        gpus = torch.cuda.device_count()
        return torch.device("cuda", local_rank() % gpus) if gpus else None
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # torch raises either, by build
        raise ValueError(f"cannot use --device {name}: {str(error).splitlines()[0]}") from error
