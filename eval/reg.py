"""Referring expression generation: the question shows a box, the answer describes what is in it.

ROUGE-1, ROUGE-L and METEOR are what GeoChat reports for region captions; BLEU-1, BLEU-4 and CIDEr-D stand
beside them. An expression that names the object in other words than the references scores low: the numbers
measure wording, not whether the expression would find the object again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eval import captioning
from eval.cap import TOKENS, select
from eval.captioning import check, parsed, readable, yardsticks
from eval.predictions import Prediction
from eval.preview import Tile
from eval.tasks import Answerer, Choices, Measure
from rsunivlm.data.records import Record

__all__ = ["check", "parsed", "readable", "select", "yardsticks"]

SWITCHES = (TOKENS,)
METRICS = ("rouge_1", "rouge_l", "meteor", "bleu_1", "bleu_4", "cider")


def max_new_tokens(answerer: Answerer) -> int:
    """Referring expressions have up to some 40 words."""
    return 96


def truth(record: Record, root: Path) -> dict[str, Any]:
    """The references, and the box asked about in pixels where the record has it (for pictures)."""
    assert isinstance(record.targets, dict)  # `check` has seen the record
    box = {"box_px": record.targets["box_px"]} if "box_px" in record.targets else {}
    return {"references": captioning.references_of(record)} | box


def measure(predictions: Sequence[Prediction], protocol: Choices) -> Measure:
    """ROUGE-1, ROUGE-L, METEOR, BLEU-1, BLEU-4 and CIDEr-D."""
    return captioning.measure_of(predictions, protocol["tokens"], METRICS)


def per_question(predictions: Sequence[Prediction], protocol: Choices) -> list[dict[str, float]]:
    """ROUGE-L and CIDEr-D of each answer."""
    return captioning.scores_of_each(predictions, protocol["tokens"])


def details(predictions: Sequence[Prediction], protocol: Choices) -> dict[str, Any]:
    """How expressions were compared."""
    return captioning.rules(predictions, protocol["tokens"])


def tiles(predictions: Sequence[Prediction], root: Path, *, seed: int = 0) -> list[Tile]:
    """Worst, best and random samples with the box asked about."""
    return captioning.sample_tiles(predictions, root, seed=seed)
