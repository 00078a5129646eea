"""What mask scores are read against: the codec's ceiling, empty and full masks, and the best constant mask.

The *ceiling* is the truth written on the grid of the checkpoint's codec and read back, tile by tile where the
model is asked so: the score of a model that knows every answer and can say it only in that notation. Beside
tiles stands the ceiling of asking for the whole image at once.

The *constant prior* is for each class the one mask, the same for every image, with the highest dataset-level
IoU. With the share of the training images that have the class at a place, and the share that is annotated
there, it holds the places of the highest quotient of both; how many is found by trying every number (each
place's true positives and area just add up). Places are the cells of a coarse grid over the image.

Answers are made when they are asked for: a run of ten questions reads ten masks, not those of the benchmark.

Shapes: N questions, G rows and columns of the grid, H height, W width.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_tools.files import image_size
from eval.metrics import masks
from eval.segmentation import truth_masks
from eval.tasks import Answerer, Yardsticks
from eval.tiling import TiledAnswerer
from rsunivlm.codecs import MaskCodec
from rsunivlm.data.records import Record, resolve_image

if TYPE_CHECKING:
    from eval.benchmarks import Questions

CEILING, WHOLE_CEILING, PRIOR = "codec_ceiling", "whole_image_ceiling", "constant_prior"
GRID = 16
MAX_FITTED = 500  # questions per class; a coarse grid has no use for more
_UNLABELLED = 2
_ANY = ""  # all classes together


class _Lazy(Sequence[Mapping[str, Any]]):
    """A column of answers, each made when it is asked for."""

    def __init__(self, records: Sequence[Record], make: Callable[[int, Record], Mapping[str, Any]]) -> None:
        self._records, self._make = records, make

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: Any) -> Any:
        return self._make(index, self._records[index])


def yardsticks(questions: Questions, answerer: Answerer, *, nothing: str, everything: str) -> Yardsticks:
    """Ceilings and constant masks for every question.

    Args:
        questions: checked questions.
        answerer: its codec makes the ceiling.
        nothing: name of the baseline that answers an empty mask.
        everything: name of the one that answers a full mask.
    """
    records, root, codec = questions.records, questions.root, answerer.mask_codec
    tiling = answerer.tiling if isinstance(answerer, TiledAnswerer) else None

    def ceiling(_: int, record: Record) -> dict[str, Any]:
        ids_HW = _ids(record, questions)
        if tiling is None:
            return {"mask": masks.encode(through_codec(ids_HW, codec))}
        read = tiling.stitch(ids_HW.shape, lambda part: through_codec(part.of(ids_HW), codec))
        return {"mask": masks.encode(read)}

    def whole(_: int, record: Record) -> dict[str, Any]:
        return {"mask": masks.encode(through_codec(_ids(record, questions), codec))}

    def filled(inside: bool) -> _Lazy:
        def make(_: int, record: Record) -> dict[str, Any]:
            width, height = image_size(resolve_image(root, record.images[-1]))
            return {"mask": masks.constant((height, width), inside)}

        return _Lazy(records, make)

    written = f"the true mask written and read back by the checkpoint's codec, {codec.to_dict()}"
    answers: dict[str, Sequence[Mapping[str, Any]]] = {CEILING: _Lazy(records, ceiling)}
    definitions = {CEILING: written}
    if tiling is not None:
        definitions[CEILING] = f"{written}, in {tiling}"
        answers[WHOLE_CEILING] = _Lazy(records, whole)
        definitions[WHOLE_CEILING] = f"{written}, as one grid for the whole image"
    answers |= {nothing: filled(False), everything: filled(True)}
    definitions |= {nothing: "an empty mask; nothing fitted", everything: "every pixel; nothing fitted"}
    prior = _prior(questions)
    if prior is not None:
        answers[PRIOR], definitions[PRIOR] = prior
    return Yardsticks(answers, definitions)


def through_codec(ids_HW: NDArray[np.integer[Any]], codec: MaskCodec) -> NDArray[np.bool_]:
    """A class map (0 rest, 1 class, 2 not annotated), written on the codec's grid and read back."""
    grid = codec.to_grid(ids_HW, 2, ignore_index=_UNLABELLED)
    return codec.grid_to_mask(grid, (ids_HW.shape[1], ids_HW.shape[0])) == 1


def best_constant(hits_GG: NDArray[np.float64], seen_GG: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The cells whose painting gives the highest IoU over many images.

    Args:
        hits_GG: area of the class in each cell, summed over the images.
        seen_GG: annotated area of each cell, in the same unit.

    Returns:
        Shape (G, G); no cell where the class does not occur.
    """
    chosen = np.zeros(hits_GG.size, bool)
    if hits_GG.sum() > 0:
        share = np.divide(hits_GG, seen_GG, out=np.zeros_like(hits_GG), where=seen_GG > 0).ravel()
        order = np.argsort(-share, kind="stable")
        right = hits_GG.ravel()[order].cumsum()
        painted = seen_GG.ravel()[order].cumsum()
        chosen[order[: 1 + int((right / (painted + hits_GG.sum() - right)).argmax())]] = True
    return chosen.reshape(hits_GG.shape)


def _prior(questions: Questions) -> tuple[_Lazy, str] | None:
    """The constant masks of all questions and what they were fitted on; None with nothing to fit on."""
    own = not questions.fit_records
    fitted = questions.records if own else questions.fit_records
    sums: dict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros((2, GRID, GRID)))
    by_image: dict[tuple[str, tuple[str, ...]], NDArray[np.float64]] = defaultdict(
        lambda: np.zeros((2, GRID, GRID))
    )
    if own and len({record.images for record in fitted}) < 2:
        return None
    drawn = _draw(fitted)
    for record in drawn:
        shares = _shares(record, questions)
        for label in (_label(record), _ANY):
            sums[label] += shares
            by_image[label, record.images] += shares
    codec = MaskCodec(GRID, decode_rule="nearest")

    def elsewhere(label: str, record: Record) -> NDArray[np.float64]:
        total = sums.get(label, np.zeros((2, GRID, GRID)))
        if not own:
            return total
        # Differences of sums may leave dust where there should be nothing.
        return np.maximum(total - by_image.get((label, record.images), 0.0), 0.0).round(9)

    def make(_: int, record: Record) -> dict[str, Any]:
        shares = elsewhere(_label(record), record)
        if not shares[1].any():  # a class of this image only, e.g. a free description
            shares = elsewhere(_ANY, record)
        cells = best_constant(shares[0], shares[1]).astype(np.uint8)
        size = image_size(resolve_image(questions.root, record.images[-1]))
        return {"mask": masks.encode(codec.grid_to_mask(cells, size))}

    source = (
        "no training split: for each question fitted on this split's other images"
        if own
        else f"fitted on split {questions.fit_split}"
    )
    count = f"{len(drawn)} questions, at most {MAX_FITTED} per class"
    text = f"per class the one mask on a {GRID} x {GRID} grid with the highest IoU, {source} ({count})"
    return _Lazy(questions.records, make), text


def _draw(records: Sequence[Record]) -> list[Record]:
    """At most `MAX_FITTED` records of every class, in order."""
    of_label: dict[str, list[int]] = defaultdict(list)
    for index, record in enumerate(records):
        of_label[_label(record)].append(index)
    rng = np.random.default_rng(0)
    chosen: list[int] = []
    for indices in of_label.values():
        few = len(indices) <= MAX_FITTED
        chosen += indices if few else rng.choice(indices, MAX_FITTED, replace=False).tolist()
    return [records[index] for index in sorted(chosen)]


def _shares(record: Record, questions: Questions) -> NDArray[np.float64]:
    """Shares of each cell that are of the class, and that are annotated, shape (2, G, G)."""
    truth, valid = truth_masks(record, questions.root)
    planes = (truth, np.ones_like(truth) if valid is None else valid)
    return np.stack(
        [
            np.asarray(
                Image.fromarray(plane.astype(np.float32)).resize((GRID, GRID), Image.Resampling.BOX),
                np.float64,
            )
            for plane in planes
        ]
    )


def _ids(record: Record, questions: Questions) -> NDArray[np.uint8]:
    truth, valid = truth_masks(record, questions.root)
    ids_HW = truth.astype(np.uint8)
    if valid is not None:
        ids_HW[~valid] = _UNLABELLED
    return ids_HW


def _label(record: Record) -> str:
    targets: Any = record.targets
    return str(targets["labels"][1])
