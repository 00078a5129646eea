"""SigLIP towers of any size as timm models, from the shapes of their tensors and their `config.json`.

timm's entry for SigLIP so400m takes every size as an argument, so one name serves all: a ViT without class
token whose activation is the tanh form of GELU, as in the weights' training (timm's default is the erf form).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rsunivlm.models.checkpoints.source import Source
from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMVisionConfig

TIMM_MODEL = "vit_so400m_patch14_siglip_384"
# Attention heads are in no shape. Those of the published sizes: base, large, so400m, giant-opt.
_HEADS = {768: 12, 1024: 16, 1152: 16, 1536: 16}
_ACTIVATIONS = {"gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu"}
SO400M_BLOCKS = 26  # of 27 that LLaVA-style models use


@dataclass(frozen=True)
class SiglipTower:
    """A tower as it is stored; `depth` counts its blocks."""

    depth: int
    width: int
    mlp_width: int
    patch: int
    side: int
    heads: int
    image_size: int
    activation: str

    @property
    def is_so400m(self) -> bool:
        """Whether it is the published so400m/14 at 384 pixels, but for its depth."""
        sizes = (self.width, self.mlp_width, self.patch, self.side, self.heads, self.image_size)
        return sizes == (1152, 4304, 14, 27, 16, 384) and self.activation == "gelu_tanh"

    def config(self, blocks: int, resize_mode: str = "squash") -> RSUniVLMVisionConfig:
        """Configuration of the tower's first blocks.

        Args:
            blocks: How many are kept.
            resize_mode: See `RSUniVLMVisionConfig`.
        """
        timm_args: dict[str, Any] | None = None
        if not self.is_so400m:
            timm_args = {
                "img_size": self.image_size,
                "patch_size": self.patch,
                "embed_dim": self.width,
                "depth": blocks,
                "num_heads": self.heads,
                "mlp_ratio": (self.mlp_width + 0.5) / self.width,  # timm rounds the product down
                "act_layer": self.activation,
            }
        return RSUniVLMVisionConfig(
            timm_model=TIMM_MODEL,
            timm_args=timm_args,
            feature_index=blocks - 1,
            image_size=self.image_size,
            hidden_size=self.width,
            tokens_per_side=self.side,
            resize_mode=resize_mode,
        )


def huggingface_tower(source: Source, prefix: str) -> SiglipTower:
    """The tower under Hugging Face's names.

    Args:
        source: Where it lies.
        prefix: What stands before `embeddings` and `encoder`, with its dot.

    Raises:
        ValueError: Tensors are missing, or shapes and configuration contradict each other.
    """
    return _tower(
        source,
        patch=f"{prefix}embeddings.patch_embedding.weight",
        positions=source.shape(f"{prefix}embeddings.position_embedding.weight"),
        mlp_width=source.rows(f"{prefix}encoder.layers.0.mlp.fc1.weight"),
        depth=source.count(f"{prefix}encoder.layers."),
    )


def timm_tower(source: Source, prefix: str) -> SiglipTower:
    """The tower under timm's names; arguments and errors as of `huggingface_tower`."""
    return _tower(
        source,
        patch=f"{prefix}patch_embed.proj.weight",
        positions=source.shape(f"{prefix}pos_embed")[1:],
        mlp_width=source.rows(f"{prefix}blocks.0.mlp.fc1.weight"),
        depth=source.count(f"{prefix}blocks."),
    )


def _tower(
    source: Source, *, patch: str, positions: tuple[int, ...], mlp_width: int, depth: int
) -> SiglipTower:
    path, config = source.config_of(patch)
    fields = _vision_fields(config)
    shape = source.shape(patch)
    side = math.isqrt(positions[0]) if positions else 0
    square = len(shape) == 4 and 0 not in shape and shape[1] == 3 and shape[2] == shape[3]
    if not square or positions != (side * side, shape[0]):
        raise ValueError(f"{source}: {patch} {shape} with positions {positions} is no square SigLIP tower")
    width, patch_size = shape[0], shape[2]
    found = {
        "hidden_size": width,
        "intermediate_size": mlp_width,
        "patch_size": patch_size,
        "num_hidden_layers": depth,
    }
    for name, value in found.items():
        if fields.get(name, value) != value:
            raise ValueError(f"{path} says {name} {fields[name]} of the tower, its tensors say {value}")
    so400m = (width, patch_size, side) == (1152, 14, 27)
    image_size = fields.get("image_size", 384 if so400m else side * patch_size)
    if not isinstance(image_size, int) or image_size // patch_size != side:
        raise ValueError(
            f"{path} says image_size {image_size}, but the tower has {side} positions of {patch_size} pixels "
            "a side; set it to what the tower was trained with"
        )
    return SiglipTower(
        depth=depth,
        width=width,
        mlp_width=mlp_width,
        patch=patch_size,
        side=side,
        heads=_heads(fields, width, path),
        image_size=image_size,
        activation=_activation(fields, path),
    )


def _vision_fields(config: dict[str, Any]) -> dict[str, Any]:
    """The tower's section of a configuration; empty where it has none (official checkpoints, timm)."""
    if isinstance(config.get("vision_config"), dict):
        return dict(config["vision_config"])
    return config if str(config.get("model_type", "")).startswith("siglip") else {}


def _heads(fields: dict[str, Any], width: int, path: Path) -> int:
    heads = fields.get("num_attention_heads", _HEADS.get(width))
    if not isinstance(heads, int) or heads < 1 or width % heads:
        raise ValueError(
            f"{path} does not tell the attention heads of a tower of width {width} (got {heads!r}); add "
            '"vision_config": {"num_attention_heads": N}'
        )
    return heads


def _activation(fields: dict[str, Any], path: Path) -> str:
    activation, eps = fields.get("hidden_act", "gelu_pytorch_tanh"), fields.get("layer_norm_eps", 1e-6)
    if not isinstance(activation, str) or activation not in _ACTIVATIONS or eps != 1e-6:
        raise ValueError(
            f"{path}: a tower with hidden_act {activation!r} and layer_norm_eps {eps!r} is no SigLIP tower"
        )
    return _ACTIVATIONS[activation]
