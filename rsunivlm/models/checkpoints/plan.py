"""What a foreign layout offers: how it is recognised, and what a checkpoint of it becomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from rsunivlm.models.checkpoints.parts import Part
from rsunivlm.models.checkpoints.source import Source
from rsunivlm.models.rsunivlm.configuration_rsunivlm import RSUniVLMConfig


@dataclass(frozen=True)
class Wishes:
    """What the user may decide about the model.

    Attributes:
        image_newline: Keep (or begin) the vector behind each image, or leave it out; None does as the source.
    """

    image_newline: bool | None = None


@dataclass
class Plan:
    """What a checkpoint becomes.

    Attributes:
        config: Of our model; ids of tokens and rows of the vocabulary are set later.
        parts: Where each foreign tensor goes.
        unused: Pattern of whole names -> why such tensors are left out. Anything else is refused.
        fresh: Our parameters that the layout does not have and that begin as in a new model.
        notes: What the user should know.
    """

    config: RSUniVLMConfig
    parts: list[Part]
    unused: Mapping[str, str]
    fresh: frozenset[str] = frozenset()
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Layout:
    """A foreign layout.

    Attributes:
        name: For reports.
        matches: Whether a source is of this layout.
        plan: What it becomes; ValueError where the source contradicts itself.
    """

    name: str
    matches: Callable[[Source], bool]
    plan: Callable[[Source, Wishes], Plan]
