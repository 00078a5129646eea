"""LoRA by peft on the language model, and the merge that makes a plain checkpoint of it.

peft changes linear layers, so the stacked feed-forward networks of a dense model are parted into three linear
layers for the run. What is published is merged: a checkpoint of the same layout as before, at no cost in use;
the adapter lies beside it in peft's own form.

The paper's row counts 987,007,008 parameters at run time, 23,003,136 too many: its peft targets are suffixes
(`q_proj`, ...), which also match SigLIP's attention, and those low-rank layers were then frozen. The preset
`paper` reproduces them, dead as they were; the default leaves them out.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from rsunivlm.models.rs_moe.experts import targeted
from rsunivlm.models.rsunivlm.experts import GranularityExperts
from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration

ADAPTER_FOLDER = "adapter"

LoraTargets = Literal["all", "attention"]

_LAYERS = r"model\.language_model\.layers\.\d+\."
_ATTENTION = r"self_attn\.(q|k|v|o)_proj"
_FEED_FORWARD = r"mlp\.(gate|up|down)_proj"
_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "repo": {"rank": 1, "alpha": 8, "targets": ("gate_proj", "up_proj", "down_proj")},
}
_TOWER = r"model\.vision_tower\.backbone\.blocks\.\d+\.attn\.qkv\.(q|k|v)_proj"


@dataclass(frozen=True)
class LoraSettings:
    """LoRA on the parts of a model (`add_lora_to`).

    The preset `repo` is what RS-MoE's public repository says: rank 1 on the language model's feed-forward
    layers.

    Attributes:
        rank: Of the changes.
        alpha: Their scale times `rank`.
        dropout: Share of inputs to the changes that is dropped.
        targets: `all` linear layers, or the last parts of the names of those meant.
    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    targets: str | tuple[str, ...] = "all"

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> LoraSettings:
        """From a recipe's mapping; its `preset` gives what it does not say itself.

        Raises:
            ValueError: An unknown key, an unknown preset or an impossible value; names it.
        """
        own = dict(settings)
        if (preset := own.pop("preset", None)) is not None:
            if preset not in _PRESETS:
                raise ValueError(f"lora: there is no preset {preset!r}, only {', '.join(_PRESETS)}")
            own = {**_PRESETS[preset], **own}
        if unknown := sorted(set(own) - {field.name for field in fields(cls)}):
            known = ", ".join(("preset", *(field.name for field in fields(cls))))
            raise ValueError(f"lora: unknown setting {unknown[0]!r}; there are {known}")
        targets = own.get("targets", cls.targets)
        found = replace(cls(**own), targets=targets if targets == "all" else tuple(targets))
        if found.rank < 1 or found.alpha <= 0 or not 0 <= found.dropout < 1:
            raise ValueError("lora: rank and alpha must be above 0, dropout at least 0 and below 1")
        return found


class SplitFeedForward(nn.Module):
    """A dense SwiGLU network as three linear layers; the same products as the stacked form."""

    def __init__(self, stacked: GranularityExperts) -> None:
        super().__init__()
        gate_ID, up_ID = stacked.gate_up_proj[0].chunk(2)
        self.gate_proj, self.up_proj, self.down_proj = (
            _linear(weight) for weight in (gate_ID, up_ID, stacked.down_proj[0])
        )
        self.act_fn = stacked.act_fn

    @property
    def idle_parameters(self) -> int:
        """Parameters that one sample does not run through: none."""
        return 0

    def forward(self, x_BLD: Tensor, _: object) -> Tensor:
        """Apply the network; shape [B, L, D] in and out."""
        out: Tensor = self.down_proj(self.act_fn(self.gate_proj(x_BLD)) * self.up_proj(x_BLD))
        return out


class SplitProjection(nn.Module):
    """A joint query-key-value projection as three linear layers."""

    def __init__(self, joint: nn.Linear) -> None:
        super().__init__()
        weights = joint.weight.chunk(3)
        biases = joint.bias.chunk(3) if joint.bias is not None else (None,) * 3
        self.q_proj, self.k_proj, self.v_proj = map(_linear, weights, biases)

    def forward(self, x: Tensor) -> Tensor:
        """Project; [..., D] in, [..., 3 K] out."""
        return torch.cat([self.q_proj(x), self.k_proj(x), self.v_proj(x)], dim=-1)


def add_lora(
    model: RSUniVLMForConditionalGeneration,
    *,
    rank: int,
    alpha: int,
    dropout: float,
    targets: LoraTargets,
    dead_tower: bool,
) -> None:
    """Put LoRA on the language model, in place, and freeze everything but it and the connector.

    Args:
        model: Dense where `targets` is "all"; with "attention" it may have experts.
        rank: Rank of the changes.
        alpha: Their scale times `rank`.
        dropout: Share of inputs to the changes that is dropped.
        targets: All linear layers of the language model, or those of its attention.
        dead_tower: Also put changes that are never trained on the tower's attention.

    Raises:
        ValueError: peft is not installed, or `dead_tower` meets a tower that is no timm ViT.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ValueError("adaptation lora needs peft: pip install -e '.[train]'") from error
    pattern = _LAYERS + (_ATTENTION if targets == "attention" else f"({_ATTENTION}|{_FEED_FORWARD})")
    if targets == "all":
        layers: Any = model.model.language_model.layers
        for layer in layers:
            layer.mlp = SplitFeedForward(layer.mlp)
    if dead_tower:
        blocks = getattr(model.model.vision_tower.backbone, "blocks", [])
        joint = [block.attn for block in blocks if isinstance(getattr(block, "attn", None), nn.Module)]
        if not joint:
            raise ValueError(
                "LoRA preset paper needs a ViT as vision tower; this one has no attention blocks"
            )
        for attention in joint:
            attention.qkv = SplitProjection(attention.qkv)
        pattern = f"({pattern})|({_TOWER})"
    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=pattern, task_type="CAUSAL_LM"
    )
    inject_adapter_in_model(config, model)
    model.model.vision_tower.requires_grad_(False)
    model.model.multi_modal_projector.requires_grad_(True)


def add_lora_to(model: nn.Module, parts: Mapping[str, nn.Module], settings: LoraSettings) -> None:
    """Put LoRA on the linear layers of parts of a model, in place, and freeze everything but it.

    Args:
        model: Any.
        parts: Its modules by their names in it; heads of language models are left as they are.
        settings: How.

    Raises:
        ValueError: peft is not installed, or a target is no linear layer of a part; names it.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ValueError("lora needs peft: pip install -e '.[train]'") from error
    layers = [
        f"{prefix}.{name}"
        for prefix, part in parts.items()
        for name, module in part.named_modules()
        if isinstance(module, nn.Linear) and not name.endswith("lm_head")
    ]
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targeted(layers, settings.targets, "lora: no linear layer"),
        task_type="CAUSAL_LM",
    )
    inject_adapter_in_model(config, model)


def lora_config(model: nn.Module) -> Any:
    """The model's `peft.LoraConfig`; None where it has no LoRA."""
    return getattr(model, "peft_config", {}).get("default")


def parted_modules(model: nn.Module) -> frozenset[str]:
    """Names of the layers that `add_lora` has parted for peft."""
    parted = (SplitFeedForward, SplitProjection)
    return frozenset(name for name, module in model.named_modules() if isinstance(module, parted))


def merged_state(state: Mapping[str, Tensor], scaling: float, parted: Set[str]) -> dict[str, Tensor]:
    """Fold LoRA into the weights and put parted layers together again.

    Args:
        state: Weights of a model with LoRA.
        scaling: alpha / rank.
        parted: See `parted_modules`.

    Returns:
        Weights under the names they had before `add_lora`, in float32 where they were changed.
    """
    plain: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if ".base_layer." in name:
            layer, _, kind = name.partition(".base_layer.")
            if kind == "weight":
                a, b = (state[f"{layer}.lora_{side}.default.weight"].float() for side in "AB")
                tensor = tensor.float() + scaling * (b @ a)
            plain[f"{layer}.{kind}"] = tensor
        elif ".lora_" not in name:
            plain[name] = tensor
    for layer in parted:
        if f"{layer}.gate_proj.weight" in plain:
            gate_ID, up_ID, down_DI = (
                plain.pop(f"{layer}.{part}_proj.weight") for part in ("gate", "up", "down")
            )
            plain[f"{layer}.gate_up_proj"] = torch.cat([gate_ID, up_ID])[None]
            plain[f"{layer}.down_proj"] = down_DI[None]
        for kind in ("weight", "bias"):
            if f"{layer}.q_proj.{kind}" in plain:
                joint = [plain.pop(f"{layer}.{part}_proj.{kind}") for part in "qkv"]
                plain[f"{layer}.{kind}"] = torch.cat(joint)
    return plain


def save_adapter(state: Mapping[str, Tensor], config: Any, folder: Path) -> None:
    """Write the LoRA weights in peft's form: `adapter_model.safetensors` and `adapter_config.json`.

    The connector, which was trained too, is in the merged checkpoint.

    Args:
        state: Weights of a model that `add_lora` changed.
        config: Its `lora_config`.
        folder: Where to write; made if need be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"base_model.model.{name.replace('.default.', '.')}": tensor.contiguous()
        for name, tensor in state.items()
        if ".lora_" in name
    }
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(folder)


def _linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    linear.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    if bias is not None:
        linear.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return linear
