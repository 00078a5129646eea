"""The systems of the paper's ablation (Table 8) and its missing controls: what stage 2 can train.

| name | what is trained |
|---|---|
| gmoe | three copies of every feed-forward network, one per granularity (the paper's method) |
| full | everything, dense |
| lora | low-rank changes of all linear layers of the language model, and the connector |
| moe | networks that a learned router chooses per token, and the router |
| ffn_only | the dense feed-forward networks: is it the experts, or what stays frozen? |
| gmoe_random | as gmoe, but samples go to experts at random: does granularity matter? |
| gmoe_shared_lora | one low-rank change of the frozen network per granularity: do experts need their size? |

All start from the same stage 1 checkpoint and use the same samples; a recipe names the system as `adaptation`
and its settings as `adaptation_options`.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from rsunivlm.models.counts import SystemCounts, count_system
from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMConfig
from rsunivlm.models.rsunivlm.experts import GranularityExperts
from rsunivlm.models.rsunivlm.low_rank_experts import LowRankExperts
from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration
from rsunivlm.models.rsunivlm.token_moe import TokenRoutedExperts
from rsunivlm.models.rsunivlm.upcycling import RoutedStart, upcycle, upcycle_low_rank, upcycle_token_routed
from rsunivlm.tasks import Granularity
from rsunivlm.training.lora import LoraTargets, add_lora
from rsunivlm.training.recipe import Recipe, convert_setting


@dataclass(frozen=True, kw_only=True)
class Adaptation(ABC):
    """A system; its fields are the options a recipe may set.

    Attributes:
        name: Value of the recipe's `adaptation`.
        printed: Trained and run-time parameters as Table 8 prints them; empty for systems it lacks.
    """

    name: ClassVar[str]
    printed: ClassVar[str] = ""

    def check(self, config: RSUniVLMConfig) -> None:
        """Check the model that the run starts from by its configuration.

        Raises:
            ValueError: It is neither dense nor, where that makes sense, this system already.
        """
        if not config.text_config.is_dense:
            raise ValueError(
                f"adaptation {self.name} starts from a dense model (stage 1), not from one of "
                f"{describe(config)}; set init_from to a stage 1 result"
            )

    def sample_experts(self, config: RSUniVLMConfig) -> int:
        """How many experts samples are sent to in what becomes of a model of this configuration."""
        return config.num_experts

    def random_experts_seed(self, config: RSUniVLMConfig) -> int | None:
        """Seed of a random choice of experts in what becomes of it; None chooses by granularity."""
        return config.random_experts_seed

    def prepare(self, model: RSUniVLMForConditionalGeneration) -> None:
        """Make the model this system, in place, and freeze what it does not train.

        Raises:
            ValueError: See `check`.
        """
        self.check(model.config)
        self._build(model)

    @abstractmethod
    def _build(self, model: RSUniVLMForConditionalGeneration) -> None:
        """As `prepare`, of a model that was checked."""


@dataclass(frozen=True, kw_only=True)
class GMoE(Adaptation):
    """Three copies of each feed-forward network, chosen by granularity."""

    name: ClassVar[str] = "gmoe"
    printed: ClassVar[str] = "313M / 893M"

    def sample_experts(self, config: RSUniVLMConfig) -> int:
        """One for each granularity."""
        return len(Granularity)

    def random_experts_seed(self, config: RSUniVLMConfig) -> int | None:
        """None: by granularity."""
        return None

    def check(self, config: RSUniVLMConfig) -> None:
        """Dense, or with experts that were chosen in the same way, to be trained further."""
        seed = self.random_experts_seed(config)
        if describe(config) != GMoE.name:
            super().check(config)
        elif config.random_experts_seed != seed:
            raise ValueError(
                f"adaptation {self.name} cannot continue a model whose samples were given to experts in "
                f"another way (random_experts_seed {config.random_experts_seed}, here {seed}); "
                "set init_from to a stage 1 result"
            )

    def _build(self, model: RSUniVLMForConditionalGeneration) -> None:
        model.config.random_experts_seed = self.random_experts_seed(model.config)
        if model.config.text_config.is_dense:
            upcycle(model)
        _train_only(model, GranularityExperts)


@dataclass(frozen=True, kw_only=True)
class RandomGMoE(GMoE):
    """As `gmoe`, but every sample's expert is drawn at random, once and for all.

    Attributes:
        seed: Of the draw; by default the run's.
    """

    name: ClassVar[str] = "gmoe_random"
    printed: ClassVar[str] = ""

    seed: int = 0

    def random_experts_seed(self, config: RSUniVLMConfig) -> int:
        """Seed of the random choice of experts."""
        return self.seed


@dataclass(frozen=True, kw_only=True)
class Full(Adaptation):
    """Everything is trained, as in stage 1."""

    name: ClassVar[str] = "full"
    printed: ClassVar[str] = "893M / 893M"

    def _build(self, model: RSUniVLMForConditionalGeneration) -> None:
        pass  # a dense model trains as it is


@dataclass(frozen=True, kw_only=True)
class FeedForwardOnly(Adaptation):
    """The dense feed-forward networks are trained: G-MoE without its split."""

    name: ClassVar[str] = "ffn_only"

    def _build(self, model: RSUniVLMForConditionalGeneration) -> None:
        _train_only(model, GranularityExperts)


@dataclass(frozen=True, kw_only=True)
class Lora(Adaptation):
    """LoRA by peft and the connector (see `rsunivlm.training.lora`).

    Attributes:
        rank: Rank of the changes.
        alpha: Their scale times `rank`.
        dropout: Share of inputs to the changes that is dropped; LLaVA's value, the paper gives none.
        targets: `all` linear layers of the language model, or those of its `attention`, which also works on
            a model with experts.
        preset: `paper` adds the untrained changes on the vision tower that the paper's count includes.
    """

    name: ClassVar[str] = "lora"
    printed: ClassVar[str] = "72M / 987M"

    rank: int = 128
    alpha: int = 256
    dropout: float = 0.05
    targets: LoraTargets = "all"
    preset: Literal["default", "paper"] = "default"

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha < 1:
            raise ValueError("adaptation lora: rank and alpha must be above 0")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"adaptation lora: dropout is a share below 1, got {self.dropout}")

    def check(self, config: RSUniVLMConfig) -> None:
        """Dense, unless only attention is changed."""
        if self.targets == "all":
            super().check(config)

    def _build(self, model: RSUniVLMForConditionalGeneration) -> None:
        add_lora(
            model,
            rank=self.rank,
            alpha=self.alpha,
            dropout=self.dropout,
            targets=self.targets,
            dead_tower=self.preset == "paper",
        )


@dataclass(frozen=True, kw_only=True)
class TokenMoE(Adaptation):
    """A learned router per layer, and the networks it chooses among.

    The paper prints 793M trained and 779M at run time and gives no widths. Eight experts of width 1536, two a
    token, fit that best (792,895,488 and 778,184,736); copies of the full networks cannot have that size.
    Both can be had: the default is the first, `width: 0` the second.

    Attributes:
        num_experts: Experts per layer.
        top_k: Experts of a token.
        width: Neurons of an expert; 0 copies the full network.
        start: Narrow experts begin as `slices` of the dense network or at `random`; what the paper did is not
            known.
        balance: Weight of the balance loss.
    """

    name: ClassVar[str] = "moe"
    printed: ClassVar[str] = "793M / 779M"

    num_experts: int = 8
    top_k: int = 2
    width: int = 1536
    start: RoutedStart = "slices"
    balance: float = 0.01

    def __post_init__(self) -> None:
        if self.num_experts < 2 or not 1 <= self.top_k <= self.num_experts:
            raise ValueError(
                f"adaptation moe: a token cannot have {self.top_k} of {self.num_experts} experts; "
                "num_experts must be at least 2 and top_k between 1 and num_experts"
            )
        if self.width < 0 or self.balance < 0:
            raise ValueError("adaptation moe: width and balance must not be negative")

    def check(self, config: RSUniVLMConfig) -> None:
        """Dense, or token-routed, to be trained further."""
        if describe(config) != self.name:
            super().check(config)
            dense = config.text_config.intermediate_size
            if self.width > dense:
                raise ValueError(
                    f"adaptation moe: experts of width {self.width} are wider than the dense network "
                    f"({dense}); set adaptation_options.width to less, or to 0 for full copies"
                )

    def _build(self, model: RSUniVLMForConditionalGeneration) -> None:
        if model.config.text_config.is_dense:
            upcycle_token_routed(
                model,
                num_experts=self.num_experts,
                top_k=self.top_k,
                width=self.width,
                start=self.start,
                balance=self.balance,
            )
        _train_only(model, TokenRoutedExperts)


@dataclass(frozen=True, kw_only=True)
class SharedLora(Adaptation):
    """A low-rank change of the frozen networks per granularity (see `low_rank_experts`).

    Attributes:
        rank: Rank of the changes.
    """

    name: ClassVar[str] = "gmoe_shared_lora"

    rank: int = 32

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError("adaptation gmoe_shared_lora: rank must be above 0")

    def sample_experts(self, config: RSUniVLMConfig) -> int:
        """One for each granularity."""
        return len(Granularity)

    def check(self, config: RSUniVLMConfig) -> None:
        """Dense, or with low-rank experts, to be trained further."""
        if describe(config) != self.name:
            super().check(config)

    def _build(self, model: RSUniVLMForConditionalGeneration) -> None:
        if model.config.text_config.is_dense:
            upcycle_low_rank(model, self.rank)
        _train_only(model, LowRankExperts)
        for module in model.modules():
            if isinstance(module, LowRankExperts):
                module.gate_up_proj.requires_grad_(False)
                module.down_proj.requires_grad_(False)


ADAPTATIONS: Mapping[str, type[Adaptation]] = {
    system.name: system for system in (GMoE, Full, Lora, TokenMoE, FeedForwardOnly, RandomGMoE, SharedLora)
}


def make_adaptation(name: str, options: Mapping[str, Any]) -> Adaptation:
    """A system by name, with options as YAML values.

    Raises:
        ValueError: No such system, or it has no such option, or the value does not fit; names it.
    """
    if name not in ADAPTATIONS:
        raise ValueError(f"unknown adaptation {name!r}; choose one of {', '.join(ADAPTATIONS)}")
    system = ADAPTATIONS[name]
    hints = typing.get_type_hints(system)
    known = {field.name for field in dataclasses.fields(system)}
    for key in options:
        if key not in known:
            near = difflib.get_close_matches(str(key), sorted(known), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(sorted(known)) or 'none'}"
            raise ValueError(f"adaptation {name} has no option {key!r}; {hint}")
    values = {key: convert_setting(value, hints[key], f"{name}: {key}") for key, value in options.items()}
    return system(**values)


def adaptation_of(recipe: Recipe) -> Adaptation:
    """The system that a recipe's stage 2 trains.

    Raises:
        ValueError: See `make_adaptation`.
    """
    options = dict(recipe.adaptation_options)
    if recipe.adaptation == RandomGMoE.name:
        options.setdefault("seed", recipe.seed)
    return make_adaptation(recipe.adaptation, options)


def describe(config: RSUniVLMConfig) -> str:
    """Which system a published model is: `dense`, or the name of an adaptation that changes the layout."""
    text = config.text_config
    if text.is_dense:
        return "dense"
    if text.num_routed_experts:
        return TokenMoE.name
    return SharedLora.name if text.expert_rank else GMoE.name


def prepared_on_meta(config: RSUniVLMConfig, adaptation: Adaptation) -> RSUniVLMForConditionalGeneration:
    """What training a dense model of this configuration would hold in memory, with nothing allocated."""
    dense = RSUniVLMConfig.from_dict(config.to_dict())
    dense.text_config = config.text_config.dense()
    dense.random_experts_seed = None
    with torch.device("meta"):
        model = RSUniVLMForConditionalGeneration(dense)
        adaptation.prepare(model)
    return model


def count_adaptation(config: RSUniVLMConfig, adaptation: Adaptation) -> SystemCounts:
    """Parameters of a system, from a dense model of this configuration."""
    return count_system(prepared_on_meta(config, adaptation))


def _train_only(model: RSUniVLMForConditionalGeneration, kind: type[torch.nn.Module]) -> None:
    model.requires_grad_(False)
    for module in model.modules():
        if isinstance(module, kind):
            module.requires_grad_(True)
