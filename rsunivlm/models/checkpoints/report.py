"""What a conversion tells: where tensors came from, what was left out and why."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from typing import Any

from rsunivlm import __version__
from rsunivlm.models.checkpoints.vocabulary import Vocabulary


@dataclass(frozen=True)
class Report:
    """What became of a checkpoint.

    Attributes:
        layout: The layout it had.
        sources: Its folders or files, by their own names.
        read: Weight file -> tensors taken from it.
        num_experts: Of the new model.
        parameters: Stored in the new model.
        dtypes: Type -> tensors of the new model.
        image_newline: Whether the new model ends images with a vector.
        tied: Whether head and word embedding are one.
        vocabulary: What became of it.
        fresh: Our parameters that no foreign tensor gave.
        unused: Foreign tensor -> why it was left out.
        notes: What the user should know.
        bytes: Size of the weights.
        files: Weight files written; empty of a dry run.
    """

    layout: str
    sources: list[str]
    read: dict[str, int]
    num_experts: int
    parameters: int
    dtypes: dict[str, int]
    image_newline: bool
    tied: bool
    vocabulary: Vocabulary
    fresh: list[str]
    unused: dict[str, str]
    notes: list[str]
    bytes: int
    files: list[str]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {"rsunivlm": __version__, **dataclasses.asdict(self)}

    def lines(self) -> list[str]:
        """The report as text."""
        vocabulary, newline = self.vocabulary, "with" if self.image_newline else "without"
        experts = "dense" if self.num_experts == 1 else f"{self.num_experts} experts"
        gigabytes = self.bytes / 1e9
        lines = [
            f"{self.layout}: {sum(self.read.values())} tensors of {', '.join(sorted(self.read))}",
            f"{self.parameters:,} parameters, {gigabytes:.2f} GB ({', '.join(sorted(self.dtypes))}), "
            f"{experts}, {newline} image_newline, "
            f"head {'tied' if self.tied else 'of its own'}",
            f"vocabulary: {vocabulary.rows} rows, {vocabulary.tokens} tokens, <image> = "
            f"{vocabulary.image_token_id}"
            + (" (added to the tokenizer)" if vocabulary.image_token_added else "")
            + (f"; {vocabulary.new_rows} rows of zeros added" if vocabulary.new_rows else ""),
        ]
        if self.fresh:
            lines.append(f"begun fresh: {', '.join(self.fresh)}")
        reasons = Counter(self.unused.values())
        lines += [f"left out: {count} tensors, {reason}" for reason, count in reasons.items()]
        return lines + [f"note: {note}" for note in self.notes]
