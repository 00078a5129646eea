"""Image captioning: one image, one caption, compared with one or several references.

The default follows coco-caption, which VRSBench and most captioning papers use: PTB-like tokens, BLEU-1..4,
METEOR, ROUGE-L and CIDEr-D. The default tokens need no Java; ``--tokens ptb`` takes the original tokeniser.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eval import captioning
from eval.captioning import check, parsed, readable, yardsticks
from eval.predictions import Prediction
from eval.preview import Tile
from eval.tasks import Answerer, Choices, Measure, Switch
from rsunivlm.data.records import Record

__all__ = ["check", "parsed", "readable", "yardsticks"]

TOKENS = Switch("tokens", "string convention, see eval/metrics/tokens.py", "words", "ptb", ("words", "ptb"))
SWITCHES = (TOKENS,)
METRICS = ("cider", *captioning.BLEU, "meteor", "rouge_l")


def max_new_tokens(answerer: Answerer) -> int:
    """VRSBench's captions have about 50 words, the longest some 150."""
    return 256


def truth(record: Record, root: Path) -> dict[str, Any]:
    """The references."""
    return {"references": captioning.references_of(record)}


def select(predictions: Sequence[Prediction], protocol: Choices) -> list[Prediction]:
    """All questions."""
    return list(predictions)


def measure(predictions: Sequence[Prediction], protocol: Choices) -> Measure:
    """CIDEr-D, BLEU-1..4, METEOR and ROUGE-L."""
    return captioning.measure_of(predictions, protocol["tokens"], METRICS)


def per_question(predictions: Sequence[Prediction], protocol: Choices) -> list[dict[str, float]]:
    """ROUGE-L and CIDEr-D of each answer."""
    return captioning.scores_of_each(predictions, protocol["tokens"])


def details(predictions: Sequence[Prediction], protocol: Choices) -> dict[str, Any]:
    """How captions were compared."""
    return captioning.rules(predictions, protocol["tokens"])


def tiles(predictions: Sequence[Prediction], root: Path, *, seed: int = 0) -> list[Tile]:
    """Worst, best and random samples."""
    return captioning.sample_tiles(predictions, root, seed=seed)
