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
from eval.metrics.boxes import CONVENTIONS, iou_under
from eval.predictions import Prediction
from eval.preview import Tile, choose
from eval.tasks import Answerer, Choices, Measure, Switch, Yardsticks
from rsunivlm.data.records import Record, resolve_image

if TYPE_CHECKING:
    from eval.benchmarks import Questions
    from rsunivlm.inference.answer import Answer

SWITCHES = (
    Switch("iou", "IoU convention, see eval/metrics/boxes.py", "pixel", "pixel_plus1", CONVENTIONS),
    Switch("strict_threshold", "an IoU must exceed its threshold, not only reach it", False, True),
    Switch("dedup_image", "only the last question about an image counts (LHRS-Bot's scorer)", False, False),
)
THRESHOLDS = (0.5, 0.7)
CEILING, FREQUENT, CENTRE = "codec_ceiling", "most_frequent_box", "centre_box"
_NAMES = (*(f"acc@{threshold}" for threshold in THRESHOLDS), "mean_iou", "acc@0.5_parsed_only")


def max_new_tokens(answerer: Answerer) -> int:
    """A box is at most "[100, 100, 100, 100]": 21 characters, so 21 tokens; some models add words."""
    return 48


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


def truth(record: Record, root: Path) -> dict[str, Any]:
    """The true box in pixels."""
    assert isinstance(record.targets, dict)  # `check` has seen the record
    return {"boxes_px": [[float(value) for value in box] for box in record.targets["boxes_px"]]}


def parsed(answer: Answer) -> dict[str, Any]:
    """All boxes read from the answer, in pixels; an empty list when there is none."""
    boxes = [] if answer.boxes_px is None else np.asarray(answer.boxes_px, np.float64).tolist()
    return {"boxes_px": boxes}


def readable(parsed: Mapping[str, Any]) -> bool:
    """Whether the answer holds a box."""
    return bool(parsed["boxes_px"])


def yardsticks(questions: Questions, answerer: Answerer) -> Yardsticks:
    """Codec ceiling, most frequent box and centre box for every question.

    The ceiling is the truth written and read back by the codec the checkpoint declares: the score of a model
    that knows every answer and can say it only in that notation.
    """
    codec = answerer.box_codec
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


def select(predictions: Sequence[Prediction], protocol: Choices) -> list[Prediction]:
    """All questions, or the last one about each image."""
    if not protocol["dedup_image"]:
        return list(predictions)
    return list({row.images: row for row in predictions}.values())


def measure(predictions: Sequence[Prediction], protocol: Choices) -> Measure:
    """acc@t and mean IoU over all questions, and acc@0.5 over the readable answers only.

    Statistics: hits at each threshold, IoU, ones, readable answers.
    """

    def columns(answers: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
        ious_N = _ious(predictions, answers, protocol)
        found_N = np.array([readable(answer) for answer in answers])
        reached = np.greater if protocol["strict_threshold"] else np.greater_equal
        hits = [reached(ious_N, threshold) for threshold in THRESHOLDS]
        return np.stack([*hits, ious_N, np.ones_like(ious_N), found_N], axis=1).astype(np.float64)

    def finish(sums_RS: NDArray[np.float64]) -> NDArray[np.float64]:
        over_all_RK = sums_RS[:, :3] / sums_RS[:, 3:4]
        with np.errstate(invalid="ignore"):
            parsed_only_R1 = sums_RS[:, :1] / sums_RS[:, 4:5]  # 0 / 0: no readable answer in the draw
        return np.concatenate([over_all_RK, parsed_only_R1], axis=1)

    return Measure(_NAMES, columns, finish)


def per_question(predictions: Sequence[Prediction], protocol: Choices) -> list[dict[str, float]]:
    """IoU of each answer."""
    ious_N = _ious(predictions, [row.parsed for row in predictions], protocol)
    return [{"iou": value} for value in ious_N.tolist()]


def details(predictions: Sequence[Prediction], protocol: Choices) -> dict[str, Any]:
    """How answers were read."""
    found = [len(row.parsed["boxes_px"]) for row in predictions]
    pixel = protocol["iou"].startswith("pixel")
    return {
        "several_boxes": sum(count > 1 for count in found),
        "coordinates": "pixels of the original image" if pixel else "0..100 units, rounded",
        "unparsable": "wrong, in the denominator",
        "of several boxes": "the first one counts",
    }


def tiles(predictions: Sequence[Prediction], root: Path, *, seed: int = 0) -> list[Tile]:
    """Worst, best and random samples with their boxes."""
    scored = [row for row in predictions if row.score]
    shown = []
    for index, reason in choose(np.array([row.score["iou"] for row in scored]), seed=seed):
        row = scored[index]
        boxes = row.parsed["boxes_px"][:1]
        result = f"IoU {row.score['iou']:.2f}" if boxes else f"unreadable: {row.answer!r}"
        image = resolve_image(root, row.images[0])
        shown.append(Tile(image, row.truth["boxes_px"], boxes, f"{reason}  {result}", row.prompt))
    return shown


def _ious(
    predictions: Sequence[Prediction], answers: Sequence[Mapping[str, Any]], protocol: Choices
) -> NDArray[np.float64]:
    """IoU of the first box of each answer with the truth, shape (N,); no box gives 0."""
    nothing = [np.nan] * 4
    first = [answer["boxes_px"][0] if answer["boxes_px"] else nothing for answer in answers]
    truths = [row.truth["boxes_px"][0] for row in predictions]
    return iou_under(protocol["iou"], first, truths, [row.image_size for row in predictions])


def _boxes(records: Sequence[Record]) -> NDArray[np.float64]:
    return np.array([record.targets["boxes_px"][0] for record in records], np.float64)  # type: ignore[index,call-overload]


def _sizes(records: Sequence[Record]) -> NDArray[np.float64]:
    return np.array([record.targets["image_size"] for record in records], np.float64)  # type: ignore[index,call-overload]


def _numbers(value: Any, count: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == count
        and all(isinstance(item, int | float) and np.isfinite(item) for item in value)
    )
