"""Checkpoints of this project, as `eval` asks them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.models.identity import config_hash

if TYPE_CHECKING:  # importing them costs torch
    import torch

    from rsunivlm.inference.answer import Answer, Request
    from rsunivlm.inference.families import Predictor


class CheckpointAnswerer:
    """A checkpoint of this project."""

    def __init__(self, model_id: str, predictor: Predictor, constrained: bool) -> None:
        self.tasks = predictor.tasks
        self.box_codec, self.mask_codec = predictor.box_codec, predictor.mask_codec
        self._id, self._predictor, self._constrained = model_id, predictor, constrained

    def answer_batch(
        self, requests: Sequence[Request], *, batch_size: int, max_new_tokens: int
    ) -> list[Answer]:
        """See `rsunivlm.inference.families.Predictor.answer_batch`.

        An answer depends on its own batch alone, to the last bit: what earlier ones left behind is not used.
        """
        from rsunivlm.inference.scheduler import Decoding  # imports torch

        self._predictor.forget()
        return self._predictor.answer_batch(
            requests,
            batch_size=batch_size,
            # A grammar ends by itself; cut short, its answer would be malformed.
            max_new_tokens=None if self._constrained else max_new_tokens,
            decoding=Decoding(constrain=self._constrained),
        )

    def describe(self) -> dict[str, Any]:
        """Name, hash of the configuration, checksum of the weights, and whether grammars hold."""
        from rsunivlm.inference.loading import weights_checksum  # imports torch

        model = self._predictor.model
        described = {
            "id": self._id,
            "config_sha256": config_hash(model.config),
            "weights": weights_checksum(model),
        }
        return described | {"constrained": True} if self._constrained else described


def load_checkpoint(
    model: str | None,
    device: torch.device | None,
    dtype: torch.dtype | None,
    constrained: bool,
    int8: bool,
) -> CheckpointAnswerer:
    """A checkpoint folder or hub id, or the bundled checkpoint.

    Raises:
        ValueError: It cannot be loaded; the message says why.
    """
    from rsunivlm.inference.families import load_predictor
    from rsunivlm.inference.loading import bundled_checkpoint

    checkpoint = model or bundled_checkpoint()
    predictor = load_predictor(checkpoint, device=device, dtype=dtype, int8=int8)
    return CheckpointAnswerer(Path(checkpoint).name if model is None else model, predictor, constrained)
