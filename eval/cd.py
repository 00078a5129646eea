"""Change detection: a pair of images, the mask of what has changed in the second.

Scores come from one confusion matrix over the pixels of all questions, as everywhere in this field: an
average of per-tile scores would be ruled by the many tiles without change. Positive is *changed*: F1,
precision, recall and IoU are those of the change class; `mF1` and `mIoU` are means over both classes, which
others quote as well and which are much higher, since most pixels do not change.

Sets that ask for several kinds of change (LEVIR-MCI: buildings and roads) are pooled; `details` tells them
apart, and has the scores of the tiles that hold change beside those of all tiles: the share of changed pixels
that follows from the paper's own figures fits the former.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eval import mask_baselines, segmentation
from eval.metrics import masks
from eval.predictions import Prediction
from eval.preview import Tile

# The parts of the contract (`eval.tasks.TaskModule`) that all mask tasks share are this module's own.
from eval.segmentation import RULES, UNREADABLE
from eval.segmentation import check as check
from eval.segmentation import max_new_tokens as max_new_tokens
from eval.segmentation import parsed as parsed
from eval.segmentation import readable as readable
from eval.segmentation import truth as truth
from eval.tasks import Answerer, Choices, Measure, Switch, Yardsticks

if TYPE_CHECKING:
    from eval.benchmarks import Questions

SWITCHES = (
    Switch("changed_only", "score only the pairs in which something has changed", False, True),
    UNREADABLE,
)
NO_CHANGE, ALL_CHANGE = "no_change", "all_change"
_NAMES = ("F1", "precision", "recall", "IoU", "OA", "mF1", "mIoU")


def yardsticks(questions: Questions, answerer: Answerer) -> Yardsticks:
    """Codec ceiling, no change (the most frequent answer), all change and the best constant mask."""
    return mask_baselines.yardsticks(questions, answerer, nothing=NO_CHANGE, everything=ALL_CHANGE)


def select(predictions: Sequence[Prediction], protocol: Choices) -> list[Prediction]:
    """All questions, or those about pairs with a change."""
    if not protocol["changed_only"]:
        return list(predictions)
    return [row for row in predictions if masks.area(row.truth["mask"])]


def measure(predictions: Sequence[Prediction], protocol: Choices) -> Measure:
    """Scores of one confusion matrix; statistics are its cells."""

    def columns(answers: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
        return segmentation.counts(predictions, answers, protocol)

    return Measure(_NAMES, columns, scores)


def scores(counts_R4: NDArray[np.float64]) -> NDArray[np.float64]:
    """Metrics (R, K) of confusion matrices of the change class."""
    both_R24 = np.stack([counts_R4, masks.complement(counts_R4)], axis=1)
    return np.stack(
        [
            masks.f1(counts_R4),
            masks.precision(counts_R4),
            masks.recall(counts_R4),
            masks.iou(counts_R4),
            masks.accuracy(counts_R4),
            masks.f1(both_R24).mean(axis=1),
            masks.iou(both_R24).mean(axis=1),
        ],
        axis=1,
    )


def per_question(predictions: Sequence[Prediction], protocol: Choices) -> list[dict[str, float]]:
    """IoU of each answer; 1 where nothing has changed and nothing was found."""
    return segmentation.per_question(predictions, protocol)


def details(predictions: Sequence[Prediction], protocol: Choices) -> dict[str, Any]:
    """All tiles beside changed tiles, kinds of change apart, confusion matrix, rules in words.

    Under ``changed_only`` the other tiles are not there to be scored.
    """
    changed_N = np.array([masks.area(row.truth["mask"]) > 0 for row in predictions])
    labels_N = np.array([row.truth["label"] for row in predictions])
    groups = {"all_tiles": np.ones_like(changed_N)} if not protocol["changed_only"] else {}
    groups["changed_only"] = changed_N
    groups |= {f"label {label}": labels_N == label for label in dict.fromkeys(labels_N.tolist())}
    answers = {"model": [row.parsed for row in predictions]}
    answers |= {name: [row.yardsticks[name] for row in predictions] for name in predictions[0].yardsticks}
    counts = {name: segmentation.counts(predictions, given, protocol) for name, given in answers.items()}
    model_N4 = counts["model"]
    confusion = dict(zip(("tp", "fp", "fn", "tn"), model_N4.sum(axis=0).astype(int).tolist(), strict=True))
    true_pixels = confusion["tp"] + confusion["fn"]
    return {
        "groups": {
            name: {"n": int(chosen_N.sum())}
            | {which: _named(counts_N4[chosen_N]) for which, counts_N4 in counts.items()}
            for name, chosen_N in groups.items()
        },
        "pixels": confusion,
        "changed_share": true_pixels / max(1, sum(confusion.values())),
        "positive": "changed; mF1 and mIoU are means over changed and unchanged",
        "aggregation": "one confusion matrix over all pixels of all questions",
        "unparsable": RULES[protocol[UNREADABLE.name]],
    }


def tiles(predictions: Sequence[Prediction], root: Path, *, seed: int = 0) -> list[Tile]:
    """Worst, best and random pairs with their masks."""
    return segmentation.tiles(predictions, root, seed=seed)


def _named(counts_N4: NDArray[np.float64]) -> dict[str, float | None]:
    values = scores(counts_N4.sum(axis=0, keepdims=True))[0].tolist()
    return {name: None if np.isnan(value) else value for name, value in zip(_NAMES, values, strict=True)}
