"""What semantic segmentation (`eval.ss`) and change detection (`eval.cd`) share.

Both ask for the mask of one class and have the same form of answers: ``{"mask": RLE}`` beside the truth
``{"mask": RLE, "valid": RLE or None, "label": name}``, where `valid` marks the annotated pixels (None: all).
The mask of an answer that could not be read is None; an answer put together from tiles, some of which could
not be read, has the pixels of those as ``"unread"``.

An unreadable answer must not profit from being empty: an empty mask is right wherever the class is absent. So
by default each of its pixels is counted as wrong. Scripts of others paint the background instead; the switch
`UNREADABLE` does so too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data_tools.files import image_size, read_colours, read_mask
from eval.metrics import masks
from eval.metrics.masks import Rle
from eval.predictions import Prediction
from eval.preview import Tile, choose
from eval.tasks import Answerer, Choices, Switch
from eval.tiling import UNREAD_ID
from rsunivlm.codecs.mask_text import check_labels
from rsunivlm.data.records import Record, check_relative, resolve_image

if TYPE_CHECKING:
    from rsunivlm.inference.answer import Answer

WRONG, EMPTY = "wrong", "empty"
UNREADABLE = Switch(
    "unreadable",
    "pixels of an unreadable answer: all wrong, or background as scripts of others have it",
    WRONG,
    EMPTY,
    (WRONG, EMPTY),
)
RULES = {
    WRONG: "every annotated pixel of an unreadable answer counts as wrong",
    EMPTY: "an unreadable answer counts as an empty mask, which is right where the class is absent",
}
SHOWN = 12  # samples in the picture
# A checkerboard takes 4 tokens a cell with one-token labels; no mask of this world comes near it.
_TOKENS_PER_CELL = 4


def max_new_tokens(answerer: Answerer) -> int:
    """Room for the longest mask there is."""
    return _TOKENS_PER_CELL * answerer.mask_codec.grid**2


def check(record: Record) -> None:
    """Raise ValueError where a record does not ask for the mask of one class, or has no true mask."""
    masks.require_pycocotools()
    name, targets = f"record {record.id}", record.targets
    if not isinstance(targets, dict) or len(record.turns) != 1:
        raise ValueError(f"{name}: evaluation needs one question with the true mask under 'targets'")
    if len(record.images) != record.task.num_images:
        raise ValueError(
            f"{name}: task {record.task} needs {record.task.num_images} image(s), not {len(record.images)}"
        )
    check_relative(targets.get("mask"), f"{name}: 'mask' of 'targets'")
    labels, value, ignored = targets.get("labels"), targets.get("value"), targets.get("ignore", [])
    if not isinstance(labels, list) or len(labels) != 2 or not all(isinstance(word, str) for word in labels):
        raise ValueError(
            f"{name}: 'targets' needs 'labels': the background's and the class's name, got {labels!r}"
        )
    try:
        check_labels(labels, labels[0])
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    if not isinstance(ignored, list) or not all(_is_value(entry) for entry in (value, *ignored)):
        raise ValueError(
            f"{name}: 'targets' needs 'value' (and may have a list 'ignore'): pixel values as integers or "
            f"[red, green, blue], got {value!r} and {ignored!r}"
        )
    if len({isinstance(entry, list) for entry in (value, *ignored)}) > 1 or value in ignored:
        raise ValueError(
            f"{name}: 'value' {value!r} and 'ignore' {ignored!r} must differ, all numbers or all colours"
        )


def truth_masks(record: Record, root: Path) -> tuple[NDArray[np.bool_], NDArray[np.bool_] | None]:
    """The true mask of a checked record and its annotated pixels (None: all), each [height, width].

    Raises:
        ValueError: the mask file is missing, damaged or not of the image's size; names the record.
    """
    targets: Any = record.targets
    value, ignored = targets["value"], targets.get("ignore", [])
    try:
        path = resolve_image(root, targets["mask"])
        pixels = _read(path, path.stat().st_mtime_ns if path.is_file() else 0, isinstance(value, list))
        size = image_size(resolve_image(root, record.images[-1]))
        if pixels.shape[:2] != (size[1], size[0]):
            raise ValueError(
                f"mask {path.name} is {pixels.shape[1]} x {pixels.shape[0]} pixels, its image "
                f"{size[0]} x {size[1]}"
            )
    except ValueError as error:
        raise ValueError(f"record {record.id}: {error}") from error

    def where(entry: Any) -> NDArray[np.bool_]:
        same: NDArray[np.bool_] = pixels == entry
        return same if same.ndim == 2 else same.all(axis=-1)

    unlabelled = [where(entry) for entry in ignored]
    valid = ~np.logical_or.reduce(unlabelled) if unlabelled else None
    return where(value), None if valid is None or valid.all() else valid


def truth(record: Record, root: Path) -> dict[str, Any]:
    """The true mask, the annotated pixels and the class in words."""
    mask, valid = truth_masks(record, root)
    targets: Any = record.targets
    return {
        "mask": masks.encode(mask),
        "valid": None if valid is None else masks.encode(valid),
        "label": targets["labels"][1],
    }


def parsed(answer: Answer) -> dict[str, Any]:
    """The mask of the class, None where the answer holds no readable one."""
    if answer.mask is None or not getattr(answer.report, "valid", True):
        return {"mask": None}
    result: dict[str, Any] = {"mask": masks.encode(answer.mask == 1)}
    unread = answer.mask == UNREAD_ID
    return result | {"unread": masks.encode(unread)} if unread.any() else result


def readable(parsed: Mapping[str, Any]) -> bool:
    """Whether the answer holds a mask."""
    return parsed["mask"] is not None


def reading(answer: Mapping[str, Any], truth: Mapping[str, Any], protocol: Choices) -> tuple[Rle, Rle | None]:
    """Mask of an answer and its pixels that count as wrong (None: none), under the protocol."""
    size = truth["mask"]["size"]
    wrong = protocol[UNREADABLE.name] == WRONG
    if answer["mask"] is None:
        return masks.constant(size, False), masks.constant(size, True) if wrong else None
    return answer["mask"], answer.get("unread") if wrong else None


def counts(
    predictions: Sequence[Prediction], answers: Sequence[Mapping[str, Any]], protocol: Choices
) -> NDArray[np.float64]:
    """True and false positives, false and true negatives of each answer alone, shape (N, 4)."""
    rows = []
    for row, answer in zip(predictions, answers, strict=True):
        mask, unread = reading(answer, row.truth, protocol)
        rows.append(masks.confusion(mask, row.truth["mask"], row.truth["valid"], unread))
    return np.array(rows, np.float64).reshape(-1, 4)


def per_question(predictions: Sequence[Prediction], protocol: Choices) -> list[dict[str, float]]:
    """IoU of each answer; 1 where there is nothing to find and nothing was found."""
    counts_N4 = counts(predictions, [row.parsed for row in predictions], protocol)
    return [{"iou": value} for value in np.nan_to_num(masks.iou(counts_N4), nan=1.0).tolist()]


def tiles(predictions: Sequence[Prediction], root: Path, *, seed: int = 0) -> list[Tile]:
    """Worst, best and random samples with their masks.

    Questions rightly answered with nothing would be the best of all; they are shown only where few others
    are there.
    """
    scored = [row for row in predictions if row.score]
    trivial, others = [], []
    for row in scored:
        right_nothing = row.score["iou"] == 1 and not masks.area(row.truth["mask"])
        (trivial if right_nothing else others).append(row)
    candidates = others + trivial[: max(0, SHOWN - len(others))]
    shown = []
    for index, reason in choose(np.array([row.score["iou"] for row in candidates]), SHOWN, seed):
        row = candidates[index]
        result = f"IoU {row.score['iou']:.2f}" if readable(row.parsed) else f"unreadable: {row.answer[:60]!r}"
        *before, image = (resolve_image(root, name) for name in row.images)
        shown.append(
            Tile(
                image,
                (),
                (),
                f"{reason}  {result}",
                row.prompt,
                before=before[0] if before else None,
                truth_mask=row.truth["mask"],
                answer_mask=row.parsed["mask"],
            )
        )
    return shown


@lru_cache(maxsize=1)  # the questions about one image stand in a row and share its mask
def _read(path: Path, changed_ns: int, colours: bool) -> NDArray[np.integer[Any]]:
    return read_colours(path) if colours else read_mask(path)


def _is_value(entry: Any) -> bool:
    numbers = entry if isinstance(entry, list) and len(entry) == 3 else [entry]
    return all(isinstance(number, int) and not isinstance(number, bool) for number in numbers)
