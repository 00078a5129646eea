"""Int8 weights for answering on a CPU: a quarter of the memory of float32, and products several times faster.

Every matrix of a linear layer, of the experts and of the word embeddings becomes integers -127..127 with one
scale per output channel. For a product each row of the input is made int8, too, by its own largest value; the
processor multiplies and adds integers, which is exact, and one multiplication per value leads back to floats
(Dettmers et al., "LLM.int8()", 2022, without its float part for outliers). A row's result therefore depends
on that row alone: batched answers equal single ones.

What is small or no matrix product stays float: norms, biases, convolutions, attention itself.

Shapes: N output channels, K input channels, R rows of the input, V vocabulary, D hidden, I intermediate,
E experts, b rows of one expert, L sequence.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMConfig, RSUniVLMTextConfig
from rsunivlm.models.rsunivlm.experts import GranularityExperts

LARGEST = 127
# What a tied head shares with the word embeddings besides the weight.
TIED_SCALES = {"lm_head.scale": "model.language_model.embed_tokens.scale"}
_TINY = 1e-30  # scale of a row of zeros


def quantise_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest int8 values of a matrix, or a stack of them, with one scale per row.

    Args:
        weight: Floats [..., N, K].

    Returns:
        Integers -127..127 [..., N, K] and scales [..., N] in float32, so that their product is within half a
        scale of each weight. The scales are bfloat16 numbers: no cast of the model changes them.
    """
    weight = weight.float()
    exact = (weight.abs().amax(-1) / LARGEST).clamp_min(_TINY)
    rounded = exact.bfloat16()
    # Up, never down: no quotient may leave -127..127.
    upper = torch.nextafter(rounded, torch.full_like(rounded, torch.inf))
    scale = torch.where(rounded < exact, upper, rounded).float()
    return (weight / scale[..., None]).round_().to(torch.int8), scale


def int8_product(x: Tensor, weight_NK: Tensor, scale_N: Tensor, bias_N: Tensor | None = None) -> Tensor:
    """`x @ weight.T + bias` in integers; [..., K] to [..., N], in the type of `x`."""
    x_RK = x.reshape(-1, x.shape[-1]).float()
    step_R1 = (x_RK.abs().amax(-1, keepdim=True) / LARGEST).clamp_min_(_TINY)
    steps_RK = (x_RK / step_R1).round_().to(torch.int8)
    # Converted once, then in place: for a long prompt, new memory costs as much as the product.
    y_RN = torch._int_mm(steps_RK, weight_NK.t()).float().mul_(step_R1).mul_(scale_N)
    if bias_N is not None:
        y_RN.add_(bias_N)
    return y_RN.to(x.dtype).view(*x.shape[:-1], len(weight_NK))


class Int8Linear(nn.Module):
    """A linear layer with an int8 weight [N, K] and a scale [N]; the bias stays float."""

    def __init__(self, in_features: int, out_features: int, bias: bool) -> None:
        super().__init__()
        self.weight = _integers(out_features, in_features)
        self.scale = _floats(out_features)
        self.bias = _floats(out_features) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """[..., K] to [..., N]."""
        return int8_product(x, self.weight, self.scale, self.bias)


class Int8Embedding(nn.Module):
    """Word embeddings with an int8 weight [V, D] and a scale [V], which a tied head shares."""

    def __init__(self, num_embeddings: int, embedding_dim: int) -> None:
        super().__init__()
        self.weight = _integers(num_embeddings, embedding_dim)
        self.scale = _floats(num_embeddings)

    def forward(self, ids: Tensor) -> Tensor:
        """Ids [...] to embeddings [..., D], in the type of the scales."""
        return self.weight[ids] * self.scale[ids][..., None]


class Int8Experts(GranularityExperts):
    """Granularity experts with int8 weights; rows go to them as to the float ones."""

    def __init__(self, config: RSUniVLMTextConfig) -> None:
        super().__init__(config)
        self.gate_up_proj = _integers(*self.gate_up_proj.shape)
        self.down_proj = _integers(*self.down_proj.shape)
        self.gate_up_scale = _floats(*self.gate_up_proj.shape[:2])
        self.down_scale = _floats(*self.down_proj.shape[:2])

    def _networks(self) -> list[tuple[Tensor, ...]]:
        stacked = (self.gate_up_proj, self.gate_up_scale, self.down_proj, self.down_scale)
        return list(zip(*(tensor.unbind(0) for tensor in stacked), strict=True))

    def _expert(self, x_bLD: Tensor, *weights: Tensor) -> Tensor:
        gate_up_2ID, gate_up_scale_2I, down_DI, down_scale_D = weights
        # One product for both: the input is made int8 once.
        gate_bLI, up_bLI = int8_product(x_bLD, gate_up_2ID, gate_up_scale_2I).chunk(2, dim=-1)
        return int8_product(self.act_fn(gate_bLI) * up_bLI, down_DI, down_scale_D)


def make_int8(module: nn.Module, config: RSUniVLMConfig, *, fill: bool) -> None:
    """Put int8 layers, in place, where a model has float ones; layers that are int8 already stay.

    Args:
        module: A model, or a part of one.
        config: Its configuration.
        fill: Quantise the float weights; otherwise the new layers wait for a checkpoint's.

    Raises:
        ValueError: The experts are low-rank or token-routed.
    """
    text = config.text_config
    if text.num_routed_experts or text.expert_rank:
        kind = "token-routed" if text.num_routed_experts else "low-rank"
        raise ValueError(f"int8 weights are for dense models and full experts; this model's are {kind}")
    made: dict[int, tuple[nn.Parameter, nn.Parameter]] = {}
    # A float layer goes as soon as its int8 form is there: nothing here may keep hold of it.
    for parent in [part for part in module.modules() if next(part.children(), None) is not None]:
        for name, child in list(parent.named_children()):
            # Filled layers bring their tensors; empty ones are made where transformers makes the model.
            with torch.device("meta") if fill else nullcontext():
                replacement = _counterpart(child, text)
            if replacement is None:
                continue
            if fill:
                _fill(replacement, child, made)
            setattr(parent, name, replacement)


def quantise(model: Any) -> None:
    """Give a loaded `RSUniVLMForConditionalGeneration` int8 weights, in place; saved, it loads as it is.

    Raises:
        ValueError: See `make_int8`; or the model has int8 weights.
    """
    require_float_weights(model.config, "quantising")
    make_int8(model, model.config, fill=True)
    model.config.int8_weights = True
    model._tied_weights_keys = model._tied_weights_keys | TIED_SCALES


def require_float_weights(config: RSUniVLMConfig, what: str) -> None:
    """Refuse int8 weights where they cannot be worked on.

    Args:
        config: Of the checkpoint.
        what: The work, for the message.

    Raises:
        ValueError: The weights are int8.
    """
    if config.int8_weights:
        raise ValueError(
            f"{what} needs float weights, and these are int8: use the checkpoint they were made from"
        )


def require_int8_processor(device: torch.device, dtype: torch.dtype | str) -> None:
    """Refuse devices, types and processors on which int8 weights give no right answers.

    Raises:
        ValueError: No CPU; a type that cannot hold the scales; or wrong sums of products, as on x86
            processors without VNNI, which cut them, and of torch 2.9 for matrices of one column.
    """
    if device.type != "cpu":
        raise ValueError(f"int8 weights are for the CPU, not for {device}: leave int8 out, or set device cpu")
    if dtype == torch.float16:
        raise ValueError("int8 weights go with float32 or bfloat16, not with float16")
    for rows, columns in ((16, 64), (2, 1), (3, 5)):
        largest = torch.full((rows, columns), LARGEST, dtype=torch.int8)
        if not (torch._int_mm(largest, largest.t()) == columns * LARGEST**2).all():
            raise ValueError(
                f"torch {torch.__version__} cannot add int8 products exactly on this processor (it may lack "
                "VNNI, or torch be too old): leave int8 out"
            )


def weight_rows(layer: nn.Module, rows: Tensor) -> Tensor:
    """Some rows of a layer's weight as floats [R, K], whether it is int8 or not."""
    weight: Tensor = layer.weight  # type: ignore[assignment]
    if isinstance(layer, Int8Linear):
        return weight[rows] * layer.scale[rows][:, None]
    return weight[rows]


def _counterpart(layer: Any, config: RSUniVLMTextConfig) -> Any:
    """The empty int8 form of a layer; None of layers that have none."""
    if type(layer) is nn.Linear:
        return Int8Linear(layer.in_features, layer.out_features, layer.bias is not None)
    if type(layer) is nn.Embedding:
        return Int8Embedding(layer.num_embeddings, layer.embedding_dim)
    return Int8Experts(config) if type(layer) is GranularityExperts else None


def _fill(int8_layer: Any, layer: Any, made: dict[int, tuple[nn.Parameter, nn.Parameter]]) -> None:
    """Move quantised weights into an int8 layer; what two layers share stays shared."""
    if isinstance(int8_layer, Int8Experts):
        int8_layer.gate_up_proj, int8_layer.gate_up_scale = _quantised(layer.gate_up_proj)
        int8_layer.down_proj, int8_layer.down_scale = _quantised(layer.down_proj)
        return
    if id(layer.weight) not in made:
        made[id(layer.weight)] = _quantised(layer.weight)
    int8_layer.weight, int8_layer.scale = made[id(layer.weight)]
    if isinstance(int8_layer, Int8Linear):
        int8_layer.bias = layer.bias


def _quantised(weight: nn.Parameter) -> tuple[nn.Parameter, nn.Parameter]:
    integers, scale = quantise_rows(weight.detach())
    return nn.Parameter(integers, requires_grad=False), nn.Parameter(
        scale.to(weight.dtype), requires_grad=False
    )


def _integers(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(*shape, dtype=torch.int8), requires_grad=False)


def _floats(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(*shape), requires_grad=False)
