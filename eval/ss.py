"""Semantic segmentation: one image, one class per question, one mask.

Two ways to score the questions of an image (``--composition``):

- ``binary``: each mask is scored alone, class against everything else. The IoU of a class comes from its
  pixels in the whole set; `mIoU` is the mean over the classes.
- ``fixed_order``: the masks of an image are painted into one label map, in the order of the classes, later
  ones over earlier ones, and the map is scored as usual. Peers score maps, so this is what compares with
  them; a binary mean is usually higher, because two answers may claim one pixel.

*Background* are the classes called so (clutter, others ...) where they are asked for, and the pixels that
belong to no class that is asked for; as an answer, those that no answer claims. It always takes part in the
pixel counts; ``--background`` also takes it into the means.

The paper does not say how it came to one number from its answers for single classes; ``--protocol paper``
does as the peers in its table: one map, background included.

`cIoU` and `gIoU` are the sums over all questions and the mean over questions, as used for referring
segmentation; `mIoU_image` is the mean over classes of the mean over images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eval import mask_baselines, segmentation
from eval.metrics import masks
from eval.metrics.masks import Rle
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

BINARY, COMPOSED = "binary", "fixed_order"
SWITCHES = (
    Switch("composition", "masks alone, or painted into one label map", BINARY, COMPOSED, (BINARY, COMPOSED)),
    Switch("background", "take the background into the means over classes", False, True),
    Switch("average", "classes in the means: all, or those that occur", "all", "all", ("all", "present")),
    UNREADABLE,
)
ALL_BACKGROUND, ALL_FOREGROUND = "all_background", "all_foreground"
BACKGROUND_WORDS = frozenset({"background", "clutter", "other", "others"})
# So many labels are descriptions, not classes: a mean over them says nothing, and they are pooled.
MAX_CLASSES = 100
_NAMES = ("mIoU", "mF1", "mPrecision", "mRecall", "OA", "cIoU", "gIoU", "mIoU_image")
_POOLED = "all labels"
_REST = "(rest)"


def yardsticks(questions: Questions, answerer: Answerer) -> Yardsticks:
    """Codec ceiling, empty masks, full masks and the best constant mask of each class."""
    return mask_baselines.yardsticks(questions, answerer, nothing=ALL_BACKGROUND, everything=ALL_FOREGROUND)


def select(predictions: Sequence[Prediction], protocol: Choices) -> list[Prediction]:
    """All questions."""
    return list(predictions)


def measure(predictions: Sequence[Prediction], protocol: Choices) -> Measure:
    """Means over classes of dataset-level scores, overall accuracy, cIoU, gIoU and the per-image mean.

    Statistics: for each class and for the rest of the image four pixel counts, the sum of the IoUs of single
    questions, how many have one, and how many have neither true nor answered pixels. Those of the rest stand
    in the row of the image's first question.
    """
    classes = classes_of(predictions)

    def columns(answers: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
        return _statistics(predictions, answers, protocol).reshape(len(predictions), -1)

    def finish(sums_RS: NDArray[np.float64]) -> NDArray[np.float64]:
        return scores(sums_RS.reshape(len(sums_RS), len(classes) + 1, -1), classes, protocol)

    return Measure(_NAMES, columns, finish)


def classes_of(predictions: Sequence[Prediction]) -> list[str]:
    """The classes asked for, in the order of the benchmark."""
    labels = list(dict.fromkeys(row.truth["label"] for row in predictions))
    return labels if len(labels) <= MAX_CLASSES else [_POOLED]


def scores(sums_RC7: NDArray[np.float64], classes: Sequence[str], protocol: Choices) -> NDArray[np.float64]:
    """Metrics (R, K) of summed statistics; the last class is the rest of the image."""
    counts_RC4, alone_RC3 = sums_RC7[..., :4], sums_RC7[..., 4:]
    asked_RC4, rest_R4 = counts_RC4[:, :-1], counts_RC4[:, -1]
    in_mean_RC = _in_mean(counts_RC4, classes, protocol)

    def mean(values_RC: NDArray[np.float64]) -> NDArray[np.float64]:
        return _mean(np.where(in_mean_RC, values_RC, np.nan))

    if protocol["composition"] == BINARY:
        overall_R = masks.accuracy(asked_RC4.sum(axis=1))
    else:
        overall_R = _ratio(counts_RC4[..., 0].sum(axis=1), rest_R4.sum(axis=1))
    iou_R, with_iou_R, empty_R = np.moveaxis(alone_RC3[:, :-1].sum(axis=1), -1, 0)
    return np.stack(
        [
            mean(masks.iou(counts_RC4)),
            mean(masks.f1(counts_RC4)),
            mean(masks.precision(counts_RC4)),
            mean(masks.recall(counts_RC4)),
            overall_R,
            masks.iou(asked_RC4.sum(axis=1)),
            _ratio(iou_R + empty_R, with_iou_R + empty_R),
            mean(_ratio(alone_RC3[..., 0], alone_RC3[..., 1])),
        ],
        axis=1,
    )


def per_question(predictions: Sequence[Prediction], protocol: Choices) -> list[dict[str, float]]:
    """IoU of each answer alone; 1 where there is nothing to find and nothing was found."""
    return segmentation.per_question(predictions, protocol)


def details(predictions: Sequence[Prediction], protocol: Choices) -> dict[str, Any]:
    """Scores of each class beside their ceiling, and the rules in words."""
    classes = classes_of(predictions)
    answers = {"model": [row.parsed for row in predictions]}
    if mask_baselines.CEILING in predictions[0].yardsticks:
        answers[mask_baselines.CEILING] = [row.yardsticks[mask_baselines.CEILING] for row in predictions]
    sums = {name: _statistics(predictions, given, protocol).sum(axis=0) for name, given in answers.items()}
    asked = Counter(row.truth["label"] for row in predictions)
    per_image = Counter(row.images for row in predictions)
    questions = {_POOLED: len(predictions), _REST: len(per_image)} | asked
    maps = protocol["composition"] == COMPOSED
    return {
        "classes": {
            label: {"questions": questions[label]}
            | {name: _named(sums_C7[number, :4]) for name, sums_C7 in sums.items()}
            for number, label in enumerate([*classes, _REST])
            if label != _REST or sums["model"][number, :4].any()
        },
        "images_without_all_classes": sum(count < len(classes) for count in per_image.values()),
        "composition": f"painted in the order {', '.join(classes)}, later ones over earlier ones"
        if maps
        else "each mask alone against everything else",
        "background": "in the means" if protocol["background"] else "in the pixel counts, not in the means",
        "aggregation": "pixels summed over the set, then means over classes; a class that is neither in the "
        "truth nor in the answers is left out, and so is the precision of a class never answered",
        "empty masks": "gIoU: 1 where truth and answer are empty; mIoU_image leaves such questions out",
        "OA": "right pixels of the label maps" if maps else "right pixels of all masks, class or not",
        "unparsable": RULES[protocol[UNREADABLE.name]],
    }


def tiles(predictions: Sequence[Prediction], root: Path, *, seed: int = 0) -> list[Tile]:
    """Worst, best and random samples with their masks."""
    return segmentation.tiles(predictions, root, seed=seed)


def _statistics(
    predictions: Sequence[Prediction], answers: Sequence[Mapping[str, Any]], protocol: Choices
) -> NDArray[np.float64]:
    """Statistics of each question, shape (N, C + 1, 7); see `measure`.

    Raises:
        ValueError: the true masks of an image overlap, so that they make no label map.
    """
    classes = classes_of(predictions)
    number_of = {label: number for number, label in enumerate(classes)}
    numbers = [number_of.get(row.truth["label"], 0) for row in predictions]  # not among them: pooled
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, row in enumerate(predictions):
        groups.setdefault(row.images, []).append(index)
    table_NC7 = np.zeros((len(predictions), len(classes) + 1, 7))
    for members in groups.values():
        truths = {index: predictions[index].truth for index in members}
        read = {index: segmentation.reading(answers[index], truths[index], protocol) for index in members}
        wanted = masks.union([target["mask"] for target in truths.values()])
        painted: Rle | None = None
        if protocol["composition"] == COMPOSED and masks.area(wanted) < sum(
            masks.area(target["mask"]) for target in truths.values()
        ):
            raise ValueError(
                f"the true masks of {predictions[members[0]].images[0]} overlap and make no label map; "
                f"use --composition {BINARY}"
            )
        for index in sorted(members, key=lambda member: numbers[member], reverse=True):
            (mask, unread), target = read[index], truths[index]
            counts = masks.confusion(mask, target["mask"], target["valid"], unread, painted)
            table_NC7[index, numbers[index]] = _row(counts)
            if protocol["composition"] == COMPOSED:
                painted = mask if painted is None else masks.union((mask, painted))
        claimed = masks.union([mask for mask, _ in read.values()])
        unread_parts = [unread for _, unread in read.values() if unread is not None]
        lost = masks.union(unread_parts) if unread_parts else None
        # Where one answer is unreadable nobody knows whether a pixel is claimed: what others say is hidden.
        counts = masks.confusion(claimed, wanted, truths[members[0]]["valid"], lost, lost)
        table_NC7[members[0], -1] = _row(masks.complement(counts))
    return table_NC7


def _row(counts: ArrayLike) -> NDArray[np.float64]:
    """Counts, IoU (0 where there is none), whether there is one, whether both masks are empty."""
    counts_4 = np.asarray(counts, np.float64)
    value = float(masks.iou(counts_4))
    empty = np.isnan(value) and counts_4.sum() > 0
    return np.array([*counts_4, np.nan_to_num(value), not np.isnan(value), empty], np.float64)


def _in_mean(counts_RC4: NDArray[np.float64], classes: Sequence[str], protocol: Choices) -> NDArray[np.bool_]:
    """Which classes, and whether the rest, take part in the means, shape (R, C + 1)."""
    occurs_RC = (counts_RC4[..., 0] + counts_RC4[..., 2]) > 0
    in_mean_RC = occurs_RC if protocol["average"] == "present" else np.ones_like(occurs_RC)
    in_mean_RC[:, -1] = occurs_RC[:, -1]  # in a set where every pixel has a class there is no rest
    if not protocol["background"]:
        in_mean_RC[:, [*(label in BACKGROUND_WORDS for label in classes), True]] = False
    return in_mean_RC


def _mean(values_RC: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the classes for which a value is defined."""
    return _ratio(np.nansum(values_RC, axis=1), (~np.isnan(values_RC)).sum(axis=1))


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole != 0)


def _named(counts_4: NDArray[np.float64]) -> dict[str, float | None]:
    rates = {"IoU": masks.iou, "F1": masks.f1, "precision": masks.precision, "recall": masks.recall}
    values = {name: float(rate(counts_4)) for name, rate in rates.items()}
    return {name: None if np.isnan(value) else value for name, value in values.items()}
