"""Visual grounding: one expression, one box.

Scores are acc@0.5, acc@0.7 and mean IoU over *all* questions: an answer without a readable box is wrong, and
counted. Where an answer holds several boxes the first one counts, because the question asks for one object.
Every score has one declared coordinate space (pixels of the original image) and one declared IoU convention
(`eval.metrics.boxes`); several readings of one answer are never tried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eval.baselines import CENTRE_BOX, most_frequent_box, most_frequent_box_elsewhere
from eval.metrics.boxes import CONVENTIONS, Convention, iou_under
from eval.metrics.intervals import cluster_bootstrap
from eval.predictions import Prediction, questions_hash
from eval.preview import Tile, choose
from eval.report import Row
from eval.tasks import Yardsticks
from rsunivlm.data.records import Record, resolve_image
from rsunivlm.inference.answer import Answer

if TYPE_CHECKING:
    from eval.benchmarks import Questions
    from rsunivlm import RSUniVLM

MAX_NEW_TOKENS = 48  # "[100, 100, 100, 100]" is 21 characters, 21 tokens at most
SCORE_OPTIONS = ("iou",)
THRESHOLDS = (0.5, 0.7)
METRICS = (*(f"acc@{threshold}" for threshold in THRESHOLDS), "mean_iou")
CEILING, FREQUENT, CENTRE = "codec_ceiling", "most_frequent_box", "centre_box"


def check(record: Record) -> None:
    """Raise ValueError where a record is no grounding question with one true box inside a sized image."""
    targets = record.targets
    if not isinstance(targets, dict) or len(record.turns) != 1:
        raise ValueError(f"record {record.id}: evaluation needs one question with one object under 'targets'")
    size: Any = targets.get("image_size")
    boxes: Any = targets.get("boxes_px")
    if not _numbers(size, 2) or min(size) <= 0:
        raise ValueError(
            f"record {record.id}: 'targets' needs 'image_size': [width, height] in pixels, got {size!r}"
        )
    if not isinstance(boxes, list) or len(boxes) != 1 or not _numbers(boxes[0], 4):
        raise ValueError(
            f"record {record.id}: 'targets' needs 'boxes_px' with one box of four numbers, got {boxes!r}"
        )
    x1, y1, x2, y2 = boxes[0]
    if not (x1 < x2 and y1 < y2 and x2 > 0 and y2 > 0 and x1 < size[0] and y1 < size[1]):
        raise ValueError(f"record {record.id}: true box {boxes[0]} is empty or outside the {size} image")


def truth(record: Record) -> dict[str, Any]:
    """The true box in pixels."""
    assert isinstance(record.targets, dict)  # `check` has seen the record
    return {"boxes_px": [[float(value) for value in box] for box in record.targets["boxes_px"]]}


def parsed(answer: Answer) -> dict[str, Any]:
    """All boxes read from the answer, in pixels; an empty list when there is none."""
    boxes = [] if answer.boxes_px is None else np.asarray(answer.boxes_px, np.float64).tolist()
    return {"boxes_px": boxes}


def yardsticks(questions: Questions, predictor: RSUniVLM) -> Yardsticks:
    """Codec ceiling, most frequent box and centre box for every question.

    The ceiling is the truth written and read back by the codec the checkpoint declares: the score of a model
    that knows every answer and can say it only in that notation.
    """
    codec = predictor.box_codec
    boxes_N4, sizes_N2 = _boxes(questions.records), _sizes(questions.records)
    definitions = {
        CEILING: f"the true box written and read back by the checkpoint's codec, {codec.to_dict()}",
        CENTRE: "the middle half of both sides; nothing fitted",
    }
    ceiling = []
    for box, (width, height) in zip(boxes_N4, sizes_N2, strict=True):
        size = (int(width), int(height))
        ceiling.append({"boxes_px": codec.decode(codec.encode(box[None], size), size)[0].tolist()})
    answers: dict[str, Sequence[Mapping[str, Any]]] = {CEILING: ceiling}

    scale_N4 = np.tile(sizes_N2, 2)
    frequent_N4: NDArray[np.float64] | None
    if questions.fit_records:
        fitted = _boxes(questions.fit_records) / np.tile(_sizes(questions.fit_records), 2)
        frequent_N4 = np.broadcast_to(most_frequent_box(fitted), boxes_N4.shape)
        source = f"fitted on the {len(fitted)} boxes of split {questions.fit_split}"
    else:
        images = [record.images for record in questions.records]
        frequent_N4 = most_frequent_box_elsewhere(boxes_N4 / scale_N4, images)
        source = "no training split: for each question fitted on this split's boxes of all other images"
    if frequent_N4 is not None:
        answers[FREQUENT] = [{"boxes_px": [box]} for box in (frequent_N4 * scale_N4).tolist()]
        definitions[FREQUENT] = f"the box with IoU >= 0.5 to the most boxes, {source}"
    answers[CENTRE] = [{"boxes_px": [box]} for box in (np.array(CENTRE_BOX) * scale_N4).tolist()]
    return Yardsticks(answers, definitions)


def per_question(predictions: Sequence[Prediction], *, iou: Convention = "pixel") -> list[dict[str, float]]:
    """IoU of each answer."""
    return [{"iou": value} for value in _ious(predictions, [row.parsed for row in predictions], iou).tolist()]


def score(
    predictions: Sequence[Prediction], *, iou: Convention = "pixel", resamples: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """Score predictions and their yardsticks.

    Args:
        predictions: At least one; all with the same yardsticks.
        iou: IoU convention, see `eval.metrics.boxes`.
        resamples: Bootstrap draws.
        seed: Seed of the draws.

    Returns:
        ``metrics`` (of the answers), ``yardsticks`` (name -> metrics) and ``margins`` (answers minus
        yardstick, paired), each ``{"acc@0.5" | "acc@0.7" | "mean_iou": {"value", "low", "high"}}`` in
        fractions with 95 % intervals (None where all questions share one image); counts; the protocol.

    Raises:
        ValueError: No predictions, or an unknown convention.
    """
    if not predictions:
        raise ValueError("no predictions to score")
    if iou not in CONVENTIONS:
        raise ValueError(f"unknown IoU convention {iou!r}; known: {', '.join(CONVENTIONS)}")
    own = _columns(_ious(predictions, [row.parsed for row in predictions], iou))
    names = list(predictions[0].yardsticks)
    others = [
        _columns(_ious(predictions, [row.yardsticks[name] for row in predictions], iou)) for name in names
    ]
    blocks = [own, *others, *(own - other for other in others)]
    scores_NK = np.concatenate(blocks, axis=1)
    clusters = [row.images for row in predictions]
    low_K, high_K = cluster_bootstrap(scores_NK, clusters, resamples=resamples, seed=seed)
    cells = [
        {"value": value, "low": None if np.isnan(low) else low, "high": None if np.isnan(high) else high}
        for value, low, high in zip(
            scores_NK.mean(axis=0).tolist(), low_K.tolist(), high_K.tolist(), strict=True
        )
    ]
    groups = [
        dict(zip(METRICS, cells[start : start + len(METRICS)], strict=True))
        for start in range(0, len(cells), len(METRICS))
    ]
    found = [len(row.parsed["boxes_px"]) for row in predictions]
    return {
        "n": len(predictions),
        "images": len(set(clusters)),
        "unparsable": found.count(0),
        "several_boxes": sum(count > 1 for count in found),
        "metrics": groups[0],
        "yardsticks": dict(zip(names, groups[1 : 1 + len(names)], strict=True)),
        "margins": dict(zip(names, groups[1 + len(names) :], strict=True)),
        "protocol": {
            "iou": iou,
            "coordinates": "pixels of the original image" if iou == "pixel" else "0..100 units, rounded",
            "threshold": ">=",
            "unparsable": "wrong, in the denominator",
            "several_boxes": "the first one counts",
        },
        "interval": {
            "method": "percentile bootstrap over images",
            "level": 0.95,
            "resamples": resamples,
            "seed": seed,
        },
        "questions_sha256": questions_hash(predictions),
    }


def table(results: Mapping[str, Any]) -> tuple[list[str], list[Row]]:
    """The answers first, then what they are to be read against."""
    rows = [Row("model", results["metrics"], strong=True)]
    rows += [Row(name, cells) for name, cells in results["yardsticks"].items()]
    if FREQUENT in results["margins"]:
        rows.append(Row(f"gain on {FREQUENT}", results["margins"][FREQUENT]))
    return list(METRICS), rows


def headline(results: Mapping[str, Any]) -> dict[str, Any]:
    """Scores of the model with their intervals, and the counts."""
    scores = {name: [cell["value"], cell["low"], cell["high"]] for name, cell in results["metrics"].items()}
    baseline = results["yardsticks"].get(FREQUENT)
    return scores | {
        "unparsable": results["unparsable"],
        "baseline_acc@0.5": baseline["acc@0.5"]["value"] if baseline else None,
        "ceiling_acc@0.5": results["yardsticks"][CEILING]["acc@0.5"]["value"],
    }


def tiles(predictions: Sequence[Prediction], root: Path, *, seed: int = 0) -> list[Tile]:
    """Worst, best and random samples with their boxes."""
    chosen = choose(np.array([row.score["iou"] for row in predictions]), seed=seed)
    shown = []
    for index, reason in chosen:
        row = predictions[index]
        boxes = row.parsed["boxes_px"][:1]
        result = f"IoU {row.score['iou']:.2f}" if boxes else f"unreadable: {row.answer!r}"
        image = resolve_image(root, row.images[0])
        shown.append(Tile(image, row.truth["boxes_px"], boxes, f"{reason}  {result}", row.prompt))
    return shown


def _ious(
    predictions: Sequence[Prediction], answers: Sequence[Mapping[str, Any]], iou: Convention
) -> NDArray[np.float64]:
    """IoU of the first box of each answer with the truth, shape (N,); no box gives 0."""
    nothing = [np.nan] * 4
    first = [answer["boxes_px"][0] if answer["boxes_px"] else nothing for answer in answers]
    truths = [row.truth["boxes_px"][0] for row in predictions]
    return iou_under(iou, first, truths, [row.image_size for row in predictions])


def _columns(ious_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """The metrics of each question as columns, shape (N, len(METRICS))."""
    return np.stack([*(ious_N >= threshold for threshold in THRESHOLDS), ious_N], axis=1).astype(np.float64)


def _boxes(records: Sequence[Record]) -> NDArray[np.float64]:
    return np.array([truth(record)["boxes_px"][0] for record in records])


def _sizes(records: Sequence[Record]) -> NDArray[np.float64]:
    return np.array([record.targets["image_size"] for record in records], np.float64)  # type: ignore[index,call-overload]


def _numbers(value: Any, count: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == count
        and all(isinstance(item, int | float) and np.isfinite(item) for item in value)
    )
