"""A checksum of weights, the same on every device and for any number of threads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import torch
from torch import nn

_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def weights_checksum(module: nn.Module) -> str:
    """Checksum of all parameters, 16 hexadecimal digits.

    Each parameter's bits are summed as integers: exact, whatever the order of the sum.
    """
    return combine([(name, sum_of_bits(parameter.detach())) for name, parameter in module.named_parameters()])


def sum_of_bits(tensor: torch.Tensor) -> int:
    """One parameter's part of the checksum."""
    return int(tensor.view(_BITS[tensor.element_size()]).sum(dtype=torch.int64))


def combine(sums: Sequence[tuple[str, int]]) -> str:
    """The checksum of parameters by name and part, in the order of the model."""
    return hashlib.sha256(json.dumps(sums).encode()).hexdigest()[:16]
