"""What tells models apart in results: hashes that depend on neither folder, device nor number of threads."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


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
