"""Load a checkpoint, make its model smaller, write it as a checkpoint that loads like any other."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rsunivlm.tasks import Granularity


@dataclass(frozen=True)
class Trimming:
    """What to do: at most one of the first three, then int8.

    Attributes:
        expert: Keep this expert alone, as a dense model.
        average: Merge the experts into a dense model, with these shares; empty for equal ones.
        rank: Make the experts low-rank changes, of this rank, of their average.
        int8: Write int8 weights.
    """

    expert: Granularity | None = None
    average: Sequence[float] | None = None
    rank: int | None = None
    int8: bool = False

    def check(self) -> None:
        """Refuse what cannot be done, before anything is loaded.

        Raises:
            ValueError: Nothing to do, two ways to merge, or int8 weights of low-rank experts.
        """
        ways = [way for way in (self.expert, self.average, self.rank) if way is not None]
        if not ways and not self.int8:
            raise ValueError("say what to do: --expert, --average, --low-rank or --int8")
        if len(ways) > 1:
            raise ValueError("--expert, --average and --low-rank exclude each other")
        if self.rank is not None and self.int8:
            raise ValueError("int8 weights are for dense models and full experts, not for --low-rank")


@dataclass(frozen=True)
class Size:
    """Bytes of the weight files and parameters of a checkpoint: stored, and used for one token."""

    bytes: int
    stored: int
    active: int

    def to_json(self) -> dict[str, int]:
        """The numbers by name."""
        return asdict(self)


def trim(source: str | os.PathLike[str], out: str | os.PathLike[str], what: Trimming) -> Size:
    """Write a smaller checkpoint; it appears only when it is complete.

    Args:
        source: Checkpoint folder or hub id, float weights.
        out: Folder to make.
        what: What to do.

    Returns:
        The size of what was written.

    Raises:
        ValueError: See `Trimming.check`; the source cannot be loaded, has no granularity experts to merge or
            int8 weights; `out` exists, or its parent folder does not.
    """
    what.check()
    target = Path(out)
    if target.exists():
        raise ValueError(f"{target} exists already; name a folder to make")
    if not target.parent.is_dir():
        raise ValueError(f"the folder of {target} does not exist: {target.parent}")
    from rsunivlm.inference.loading import load_checkpoint
    from rsunivlm.models.counts import count_parameters
    from rsunivlm.models.rsunivlm.int8 import quantise
    from rsunivlm.models.rsunivlm.merging import average_experts, factor_experts
    from rsunivlm.models.rsunivlm.upcycling import extract_expert

    model, processor = load_checkpoint(source, device="cpu", dtype="auto")
    if what.expert is not None:
        extract_expert(model, int(what.expert))
    if what.average is not None:
        average_experts(model, what.average or None)
    if what.rank is not None:
        factor_experts(model, what.rank)
    if what.int8:
        quantise(model)
    counts = count_parameters(model.config)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
        folder = Path(scratch) / target.name
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        written = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        os.replace(folder, target)
    return Size(written, counts.stored, counts.active)
