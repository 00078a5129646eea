"""The report of `rsunivlm plan`: what fits which card, and what to use (the arithmetic: `memory`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rsunivlm.models.rsunivlm.modeling_rsunivlm import RSUniVLMForConditionalGeneration
from rsunivlm.training.memory import GB, RESERVE, Memory, Setup, images_of, longest_pack, memory, recommend

CARDS = (24, 48, 80)  # GB
PARTS = ("weights", "gradients", "optimizer", "buffers", "activations", "head", "update", "host")


@dataclass(frozen=True)
class Row:
    """One setup.

    Attributes:
        setup: The setup.
        memory: Its memory.
        longest: Longest pack that fits the user's card; 0 where none does.
    """

    setup: Setup
    memory: Memory
    longest: int


@dataclass(frozen=True)
class Plan:
    """The plan of one stage.

    Attributes:
        stage: 1 or 2.
        system: What the stage trains.
        trained: Parameters with a gradient.
        parameters: All that training holds.
        images: Images of a row.
        gigabytes: Memory of the user's card.
        rows: One for each setup asked for.
        advice: What to use on the user's cards; None where nothing fits.
    """

    stage: int
    system: str
    trained: int
    parameters: int
    images: int
    gigabytes: float
    rows: tuple[Row, ...]
    advice: Row | None

    def to_json(self) -> dict[str, Any]:
        """The plan with sizes in GB."""
        return {
            "stage": self.stage,
            "system": self.system,
            "trained": self.trained,
            "parameters": self.parameters,
            "images_per_row": self.images,
            "memory_gb": self.gigabytes,
            "rows": [self._row(row) for row in self.rows],
            "recommended": self._row(self.advice) if self.advice else None,
        }

    def _row(self, row: Row) -> dict[str, Any]:
        setup = row.setup
        return {
            "gpus": setup.gpus,
            "zero": setup.zero,
            "offload": setup.offload,
            "deepspeed": setup.deepspeed,
            "precision": setup.precision,
            "gradient_checkpointing": setup.checkpointing,
            "pack_length": setup.pack_length,
            **{f"{part}_gb": round(getattr(row.memory, part) / GB, 2) for part in PARTS},
            "reserve_gb": RESERVE / GB,
            "total_gb": round(row.memory.total / GB, 2),
            "fits": row.memory.fits(self.gigabytes),
            "longest_pack": row.longest,
        }

    def table(self) -> str:
        """The plan as text; sizes in GB of 10^9 bytes on each GPU."""
        first = self.rows[0].setup
        recomputing = ", layers recomputed" if first.checkpointing else ""
        titles = ["ZeRO", *PARTS[:6], "reserve", "total", *(f"{card} GB" for card in CARDS), "longest pack"]
        lines = [
            f"stage {self.stage} ({self.system}): {self.trained:,} of {self.parameters:,} parameters trained",
            f"{first.gpus} x {self.gigabytes:g} GB, {first.precision}, rows of {first.pack_length} tokens, "
            f"{self.images} images{recomputing}; GB per GPU",
            "".join(f"{title:>13}" for title in titles),
        ]
        for row in self.rows:
            name = f"{row.setup.zero}{' offload' if row.setup.offload else ''}"
            sizes = [*(getattr(row.memory, part) for part in PARTS[:6]), RESERVE, row.memory.total]
            cells = [name, *(f"{size / GB:.1f}" for size in sizes)]
            cells += ["fits" if row.memory.fits(card) else "no" for card in CARDS]
            lines.append("".join(f"{cell:>13}" for cell in [*cells, row.longest or "none"]))
        return "\n".join([*lines, self._advice()])

    def _advice(self) -> str:
        if self.advice is None:
            return f"nothing to recommend: no setup fits {self.gigabytes:g} GB with a tenth to spare"
        setup = self.advice.setup
        settings = f"deepspeed={setup.deepspeed} packing=true max_length={setup.pack_length} batch_size=1"
        if setup.checkpointing:
            settings += " gradient_checkpointing=true"
        offloaded = ""
        if setup.offload:
            offloaded = f", optimizer offloaded ({self.advice.memory.host / GB:.1f} GB of host memory each)"
        return (
            f"recommended for {self.gigabytes:g} GB: ZeRO {setup.zero}{offloaded}, {settings} "
            f"({self.advice.memory.total / GB:.1f} GB)"
        )


def plan_stage(
    stage: int,
    system: str,
    model: RSUniVLMForConditionalGeneration,
    setups: Sequence[Setup],
    gigabytes: float,
) -> Plan:
    """Compute the plan of one stage.

    Args:
        stage: 1 or 2.
        system: What it trains.
        model: Ready to be trained, on any device.
        setups: The setups to compare; GPUs, precision and images are the first one's throughout.
        gigabytes: Memory of a card in GB.

    Raises:
        ValueError: See `memory.memory`.
    """
    rows = tuple(Row(setup, memory(model, setup), longest_pack(model, setup, gigabytes)) for setup in setups)
    best = recommend(model, setups[0], gigabytes)
    return Plan(
        stage=stage,
        system=system,
        trained=sum(p.numel() for p in model.parameters() if p.requires_grad),
        parameters=sum(p.numel() for p in model.parameters()),
        images=images_of(model, setups[0]),
        gigabytes=gigabytes,
        rows=rows,
        advice=Row(best, memory(model, best), best.pack_length) if best else None,
    )
