"""What a conversion made, what it skipped and why.

Bad input is counted, named and skipped, never guessed at. A dataset with more than a small share of bad items
is not usable as it lies there (a broken download, a wrong folder): then the conversion stops.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class ConversionReport:
    """Counts and reasons of one conversion.

    Attributes:
        dataset: name of the converter.
        samples: samples made, by (split, task).
        bad: item -> reason; an item is named by file and, where there is one, number.
        bad_samples: samples lost with the bad items.
        left_out: reason -> samples left out on purpose.
        warnings: things a user should know, each once.
    """

    dataset: str
    samples: Counter[tuple[str, str]] = field(default_factory=Counter)
    bad: dict[str, str] = field(default_factory=dict)
    bad_samples: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)

    def skip(self, item: str, reason: str, samples: int = 1) -> None:
        """Count ``item`` as bad, with the number of samples lost by it; a repeated item counts once."""
        if item not in self.bad:
            self.bad[item] = reason
            self.bad_samples += samples

    def warn(self, message: str) -> None:
        """Keep a warning, once."""
        if message not in self.warnings:
            self.warnings.append(message)

    def merge(self, other: ConversionReport) -> None:
        """Add what another report on the same dataset counted."""
        self.samples += other.samples
        for item, reason in other.bad.items():
            self.bad.setdefault(item, reason)
        self.bad_samples += other.bad_samples
        self.left_out += other.left_out
        for message in other.warnings:
            self.warn(message)

    @property
    def bad_share(self) -> float:
        """Share of all samples, made and lost, that were lost to bad items."""
        return self.bad_samples / max(1, self.bad_samples + self.samples.total())

    def require(self, max_bad: float) -> None:
        """Stop a conversion that made nothing or lost more than ``max_bad`` of the samples.

        Raises:
            ValueError: names the share and the first bad items with their reasons.
        """
        if self.bad_share > max_bad:
            raise ValueError(
                f"{self.dataset}: {self.bad_samples} of {self.bad_samples + self.samples.total()} samples "
                f"({self.bad_share:.1%}) are bad, more than --max-bad {max_bad:g}:\n{self.named_problems()}"
            )
        if not self.samples:
            raise ValueError(f"{self.dataset}: no samples found; check --root and --split")

    def named_problems(self, limit: int = 10) -> str:
        """The first bad items with their reasons, one per line."""
        lines = [f"  {item}: {reason}" for item, reason in list(self.bad.items())[:limit]]
        if len(self.bad) > limit:
            lines.append(f"  ... and {len(self.bad) - limit} more")
        return "\n".join(lines)

    @classmethod
    def from_json(cls, dataset: str, content: dict[str, Any]) -> ConversionReport:
        """The report that `to_json` wrote."""
        samples = {
            (split, task): count
            for split, tasks in content["samples"].items()
            for task, count in tasks.items()
        }
        return cls(
            dataset,
            Counter(samples),
            content["bad"],
            content["bad_samples"],
            Counter(content["left_out"]),
            content["warnings"],
        )

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain JSON values."""
        samples: dict[str, dict[str, int]] = {}
        for (split, task), count in self.samples.items():
            samples.setdefault(split, {})[task] = count
        return {
            "samples": samples,
            "bad_samples": self.bad_samples,
            "bad": self.bad,
            "left_out": dict(self.left_out),
            "warnings": self.warnings,
        }
