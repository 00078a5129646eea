"""The models a benchmark can ask, behind one face (`eval.tasks.Answerer`).

`--model DIR|HUB-ID` is a checkpoint of this project.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.tasks import Answerer

if TYPE_CHECKING:  # importing them costs torch
    import torch

    from rsunivlm import RSUniVLM
    from rsunivlm.inference.answer import Answer, Request


class CheckpointAnswerer:
    """A checkpoint of this project."""

    def __init__(self, model_id: str, predictor: RSUniVLM) -> None:
        self.box_codec, self.mask_codec = predictor.box_codec, predictor.mask_codec
        self._id, self._predictor = model_id, predictor

    def answer_batch(
        self, requests: Sequence[Request], *, batch_size: int, max_new_tokens: int
    ) -> list[Answer]:
        """See `rsunivlm.inference.predictor.RSUniVLM.answer_batch`."""
        return self._predictor.answer_batch(requests, batch_size=batch_size, max_new_tokens=max_new_tokens)

    def describe(self) -> dict[str, Any]:
        """Name, hash of the configuration and checksum of the weights."""
        model = self._predictor.model
        return {
            "id": self._id,
            "config_sha256": config_hash(model.config),
            "weights": weights_checksum(model),
        }


def load_answerer(model: str | None, device: str | None, dtype: str | None) -> Answerer:
    """The named model, or the bundled checkpoint.

    Raises:
        ValueError: It cannot be loaded, or there is no such device or number type; the message says why.
    """
    import torch  # loaded only once the data is known to be good

    from rsunivlm import RSUniVLM
    from rsunivlm.inference.loading import bundled_checkpoint, quiet_libraries

    quiet_libraries()
    checkpoint = model or bundled_checkpoint()
    torch_dtype = getattr(torch, dtype) if dtype else None
    try:
        torch_device = torch.empty(0, device=device).device if device else None
    except (RuntimeError, AssertionError) as error:  # torch raises either, by build
        raise ValueError(f"cannot use --device {device}: {str(error).splitlines()[0]}") from error
    predictor = RSUniVLM.from_pretrained(checkpoint, device=torch_device, dtype=torch_dtype)
    return CheckpointAnswerer(Path(checkpoint).name if model is None else model, predictor)


def config_hash(config: Any) -> str:
    """SHA-256 over what the checkpoint's configuration says, wherever the checkpoint lies."""
    content = {
        name: value
        for name, value in config.to_dict().items()
        if name not in ("_name_or_path", "transformers_version", "dtype")
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def weights_checksum(model: torch.nn.Module) -> str:
    """A checksum of all parameters, the same on every device and for any number of threads.

    Parameters are summed as integers over their bits: exact, whatever the order.
    """
    import torch

    bits = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    sums = [
        (name, int(parameter.detach().view(bits[parameter.element_size()]).sum(dtype=torch.int64)))
        for name, parameter in model.named_parameters()
    ]
    return hashlib.sha256(json.dumps(sums).encode()).hexdigest()[:16]
