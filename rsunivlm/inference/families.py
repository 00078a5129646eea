"""What the predictors of both model families have in common, and which one a checkpoint needs."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from PIL import Image

from rsunivlm.inference.answer import Answer, ImageLike, Request
from rsunivlm.inference.scheduler import DEFAULT_DECODING, Decoding
from rsunivlm.tasks import Task

if TYPE_CHECKING:
    from typing import Self

    import torch

    from rsunivlm.codecs import BoxCodec, MaskCodec


class Predictor(ABC):
    """A loaded checkpoint that answers questions.

    Attributes:
        model: In memory, on its device.
        processor: Of the same checkpoint.
        box_codec: How boxes are written, in prompts and answers.
        mask_codec: How masks are written.
        tasks: What the family answers.
    """

    tasks: ClassVar[tuple[Task, ...]] = tuple(Task)
    model: Any
    processor: Any
    box_codec: BoxCodec
    mask_codec: MaskCodec

    @classmethod
    @abstractmethod
    def from_pretrained(
        cls,
        checkpoint: str | os.PathLike[str],
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> Self:
        """Load a checkpoint folder or a hub id.

        Args:
            checkpoint: Folder with `config.json` and safetensors, or a hub id `owner/name`.
            device: By default a GPU where there is one.
            dtype: By default bfloat16 on a GPU and float32 on the CPU.

        Raises:
            ValueError: No configuration, missing or misshapen weights (named), or another architecture.
        """

    @abstractmethod
    def answer_batch(
        self,
        requests: Sequence[Request],
        *,
        batch_size: int = 16,
        max_new_tokens: int | None = None,
        decoding: Decoding = DEFAULT_DECODING,
    ) -> list[Answer]:
        """Answer requests of any mix of tasks, greedily.

        Args:
            requests: The questions.
            batch_size: Rows decoded together.
            max_new_tokens: Limit for answers whose request names none; by default one that fits their kind.
            decoding: How to decode; the accelerated ways write what the plain one writes.

        Returns:
            Answers in the order of the requests.

        Raises:
            ValueError: An image cannot be read, the number of images does not fit the task, the prompt
                holds image marks that do not match or is too long, or a task is unknown or not this
                family's.
        """

    @abstractmethod
    def forget(self) -> None:
        """Let go of what was kept for further questions."""

    def ask(
        self,
        images: ImageLike | Sequence[ImageLike],
        prompt: str,
        *,
        task: Task | str | None = None,
        labels: Sequence[str] | None = None,
        choices: Sequence[str] | None = None,
        max_new_tokens: int | None = None,
        decoding: Decoding = DEFAULT_DECODING,
    ) -> Answer:
        """Ask one question about an image or a pair.

        Args:
            images: One image (path, bytes or picture) or two, before and after.
            prompt: The question, with or without a task token.
            task: Overrides the router, e.g. `"vg"`.
            labels: Classes a mask may hold; by default those the prompt or the answer names.
            choices: The answers that are allowed, e.g. `["yes", "no"]`.
            max_new_tokens: Limit of the answer's length.
            decoding: How to decode.

        Raises:
            ValueError: See `answer_batch`.
        """
        request = Request(as_images(images), prompt, task, labels, choices, max_new_tokens=max_new_tokens)
        return self.answer_batch([request], decoding=decoding)[0]


def as_images(images: ImageLike | Sequence[ImageLike]) -> tuple[ImageLike, ...]:
    """One image or several as a tuple."""
    return (images,) if isinstance(images, str | Path | bytes | Image.Image) else tuple(images)


def load_predictor(
    checkpoint: str | os.PathLike[str],
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    int8: bool = False,
) -> Predictor:
    """Load a checkpoint of either family; see `Predictor.from_pretrained`.

    Raises:
        ValueError: Also int8 weights for the family that has none.
    """
    from rsunivlm.models.checkpoints.reading import read_any_config  # imports transformers

    if read_any_config(checkpoint).model_type == "rs_moe":
        from rsunivlm.inference.rs_moe import RSMoE

        if int8:
            raise ValueError(f"{os.fspath(checkpoint)} is an RS-MoE checkpoint; int8 weights are RSUniVLM's")
        return RSMoE.from_pretrained(checkpoint, device=device, dtype=dtype)
    from rsunivlm.inference.predictor import RSUniVLM

    return RSUniVLM.from_pretrained(checkpoint, device=device, dtype=dtype, int8=int8)
