"""Experts on one language model: every linear layer with a low-rank change per expert, chosen per row.

All experts start from the same language model and only low-rank changes are trained (Hu et al., "LoRA",
2021), so N language models and one with N adapters are the same function; only the second fits on one GPU.
Rows of all experts go through one pass: the base product is shared, and each row adds its expert's change. A
row of no expert is the language model of stage I, to the last bit.

peft has adapters, too, but switches them for a whole batch in training, and the project answers without it.
Weights go to peft and back (`adapter_state`, `load_adapter_state`).

Shapes: B rows, L positions, I in, O out, r rank, E experts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init

NO_EXPERT = -1  # in `expert_ids`: the language model of stage I, without a change

# peft names a layer's parts so, behind "base_model.model." and the layer.
_PEFT_PREFIX = "base_model.model."


class ExpertRows:
    """Which expert the rows of the pass under way run through; all layers of a model hold the same one.

    The layers of a stock language model pass no arguments of ours on to their linear layers. It keeps its
    value after the pass, because layers that are computed again in the backward pass need it there.
    """

    def __init__(self) -> None:
        self.ids_B: Tensor | None = None  # None: no row has an expert


class AdapterLinear(nn.Linear):
    """A linear layer and a low-rank change of it per expert: `y = W x + b + scale * B_e A_e x`."""

    def __init__(
        self, base: nn.Linear, names: Sequence[str], rank: int, scale: float, rows: ExpertRows
    ) -> None:
        """Take over a layer's parameters.

        Args:
            base: The layer.
            names: Of the experts.
            rank: Of the changes.
            scale: Their weight.
            rows: Says which expert each row runs through.
        """
        # Not nn.Linear's own constructor: it would draw weights anew.
        nn.Module.__init__(self)
        self.in_features, self.out_features = base.in_features, base.out_features
        self.weight, self.bias = base.weight, base.bias
        self.names, self.scale, self.rows = tuple(names), scale, rows
        for name in names:
            a_rI = base.weight.new_empty(rank, self.in_features)
            b_Or = base.weight.new_empty(self.out_features, rank)
            self.register_parameter(f"adapter_a_{name}", nn.Parameter(a_rI))
            self.register_parameter(f"adapter_b_{name}", nn.Parameter(b_Or))

    def reset_adapters(self) -> None:
        """A at unit gain, B at zero: the change begins as nothing."""
        for a_rI, b_Or in map(self.adapter, self.names):
            init.normal_(a_rI, std=self.in_features**-0.5)
            init.zeros_(b_Or)

    def adapter(self, name: str) -> tuple[nn.Parameter, nn.Parameter]:
        """A [r, I] and B [O, r] of an expert."""
        return getattr(self, f"adapter_a_{name}"), getattr(self, f"adapter_b_{name}")

    def forward(self, x_BLI: Tensor) -> Tensor:
        """Apply to each row its expert's layer; [B, L, I] in, [B, L, O] out."""
        base_BLO = super().forward(x_BLI)
        ids_B = self.rows.ids_B
        if ids_B is None:
            return base_BLO
        # Stacked, every expert gets a gradient in every step, so that no process waits for an unused one.
        a_ErI, b_EOr = (torch.stack(parts) for parts in zip(*map(self.adapter, self.names), strict=True))
        chosen_B = ids_B.clamp(min=0)
        change_BLO = (x_BLI @ a_ErI[chosen_B].mT) @ b_EOr[chosen_B].mT
        return base_BLO + change_BLO * (self.scale * (ids_B != NO_EXPERT)).to(change_BLO.dtype)[:, None, None]


def add_adapters(
    language_model: PreTrainedModel,
    names: Sequence[str],
    *,
    rank: int,
    alpha: float,
    targets: str | Sequence[str],
) -> ExpertRows:
    """Give the linear layers of a causal language model, in place, a low-rank change per expert.

    Args:
        language_model: Without adapters.
        names: Of the experts.
        rank: Of the changes.
        alpha: Their scale times the rank.
        targets: `all` but the head, or the last parts of the layers' names.

    Returns:
        What says which expert each row runs through.

    Raises:
        ValueError: A target is no linear layer of the language model; names it.
    """
    rows = ExpertRows()
    head = language_model.get_output_embeddings()
    layers = {
        name: module
        for name, module in language_model.named_modules()
        if isinstance(module, nn.Linear) and module is not head
    }
    for name in targeted(layers, targets, "adapter_targets: no linear layer of the language model"):
        changed = AdapterLinear(layers[name], names, rank, alpha / rank, rows)
        changed.reset_adapters()
        language_model.set_submodule(name, changed)
    return rows


def targeted(layers: Iterable[str], targets: str | Sequence[str], nothing: str) -> list[str]:
    """The layers that are to be changed.

    Args:
        layers: Names of all that could be.
        targets: `all`, or the last parts of the names of those meant.
        nothing: What to say of a target that is none of them, e.g. "lora: no linear layer".

    Raises:
        ValueError: A target is none of them; names it.
    """
    last_parts = {layer: layer.rpartition(".")[2] for layer in layers}
    if targets == "all":
        return list(last_parts)
    known = set(last_parts.values())
    if missing := [target for target in targets if target not in known]:
        raise ValueError(f"{nothing} is named {missing[0]!r}; there are {', '.join(sorted(known))}")
    return [layer for layer, last_part in last_parts.items() if last_part in targets]


def adapter_layers(language_model: nn.Module) -> Iterator[tuple[str, AdapterLinear]]:
    """The layers that have adapters, with their names."""
    for name, module in language_model.named_modules():
        if isinstance(module, AdapterLinear):
            yield name, module


def adapter_state(language_model: nn.Module, expert: str) -> dict[str, Tensor]:
    """An expert's adapter under the names of peft's `adapter_model.safetensors` for the language model."""
    state = {}
    for layer_name, layer in adapter_layers(language_model):
        for side, tensor in zip("AB", layer.adapter(expert), strict=True):
            state[f"{_PEFT_PREFIX}{layer_name}.lora_{side}.weight"] = tensor.detach()
    return state


@torch.no_grad()
def load_adapter_state(language_model: nn.Module, expert: str, state: Mapping[str, Tensor]) -> None:
    """Take an expert's adapter from peft's names.

    Raises:
        ValueError: The adapter lacks a layer, has one too many, or is of another rank; names it.
    """
    ours = adapter_state(language_model, expert)
    for name in ours.keys() | state.keys():
        if name not in state or name not in ours or state[name].shape != ours[name].shape:
            raise ValueError(f"the adapter does not fit expert {expert!r}: see {name}")
        ours[name].copy_(state[name])


@torch.no_grad()
def merge_adapter(language_model: nn.Module, expert: str | None) -> None:
    """Make a language model with adapters a plain one, in place: fold an expert's change in, drop the rest.

    Args:
        language_model: With adapters.
        expert: Whose; None for the language model of stage I.
    """
    for name, layer in list(adapter_layers(language_model)):
        plain = nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
        plain.weight, plain.bias = layer.weight, layer.bias
        if expert is not None:
            a_rI, b_Or = layer.adapter(expert)
            plain.weight = nn.Parameter(
                layer.weight + layer.scale * b_Or @ a_rI, requires_grad=layer.weight.requires_grad
            )
        language_model.set_submodule(name, plain)
