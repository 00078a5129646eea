"""Boxes as text: pixel corners <-> ``[x1, y1, x2, y2]`` on a 0..range scale.

A coordinate is written as a share of the image's side, 0..100 by default, rounded to the nearest unit: the
form that RSUniVLM's released weights speak (Liu and Lian, 2024). It suits objects of ordinary size; one whose
side is 1-2 % of the image's keeps an IoU of about 0.5 after rounding, and a range of 1000 or a decimal, for
up to four tokens more per box, removes that loss.

Reading is tolerant, because a model's answer is not a file format. Corners in any order are sorted, values
beyond the frame are clamped, a box without area is dropped, and so is a bracket that does not hold four
numbers. Foreign notations are read only where they can mean one thing: ``(x1,y1),(x2,y2)`` (Qwen-VL),
``{<x1><y1><x2><y2>|<angle>}`` (GeoChat; the upright corners are kept) and four numbers in other brackets.
Everything done to the text is counted in the `BoxReport`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rsunivlm.codecs.settings import CodecSettings, check_image_size, check_integer

Boxes = npt.NDArray[np.float64]
_Found = tuple[list[float], tuple[str, ...]]  # numbers of one bracket, notes about its notation

_NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_POINT = rf"\([ \t]*{_NUMBER}[ \t,]+{_NUMBER}[ \t]*\)"
_CELL = rf"<[ \t]*{_NUMBER}[ \t]*>"
_PLAIN = r"[^\[\](){}<>]*"  # the inside of an innermost bracket
_BRACKETS = re.compile(
    rf"(?P<cells>{_CELL}(?:[ \t,]*{_CELL})+)(?:[ \t]*\|[ \t]*(?P<angle>{_CELL}))?"
    rf"|(?P<points>{_POINT}(?:[ \t,]*{_POINT})+)"
    rf"|\[(?P<square>{_PLAIN})\]"
    rf"|\((?P<round>{_PLAIN})\)|\{{(?P<curly>{_PLAIN})\}}|<(?P<pointed>{_PLAIN})>"
    rf"|\[(?P<unclosed>{_PLAIN})"
)
_NUMBER_ONLY = re.compile(_NUMBER)
_SEPARATORS = re.compile(r"[\s,;]+")
_DIGIT = re.compile(r"[0-9]")

_NOT_FOUR = "dropped, not four numbers"
_NO_AREA = "dropped, no width or height left"
_SWAPPED = "corners swapped"
_CLAMPED = "clamped to the frame"
_ANGLE = "angle ignored, upright corners kept"


@dataclass(frozen=True)
class BoxReport:
    """What happened to the boxes of one text (or of one array that was encoded).

    Attributes:
        found: boxes met, good or bad.
        repaired: boxes kept after a change (corners swapped, clamped, angle ignored).
        dropped: boxes left out (not four numbers, no area).
        notes: every kind of event with its count, e.g. ``"corners swapped: 2"``.
    """

    found: int
    repaired: int
    dropped: int
    notes: tuple[str, ...]

    @property
    def valid(self) -> bool:
        """Whether at least one box could be read."""
        return self.found > self.dropped

    @property
    def clean(self) -> bool:
        """Whether boxes were found, all in the codec's own notation, and none needed help."""
        return self.found > 0 and not self.notes


@dataclass(frozen=True)
class BoxCodec(CodecSettings):
    """Writes and reads boxes as text.

    Attributes:
        range: the unit value of the right and bottom edge of the image (100 for the released weights).
        decimals: digits written after the decimal point; reading always accepts decimals.
    """

    range: int = 100
    decimals: int = 0

    def __post_init__(self) -> None:
        check_integer("BoxCodec", "range", self.range, 1, 1_000_000)
        check_integer("BoxCodec", "decimals", self.decimals, 0, 6)

    def encode(self, boxes_px: npt.ArrayLike, image_size: tuple[int, int]) -> str:
        """The text of `encode_with_report`: boxes without area at this range are left out of it."""
        return self.encode_with_report(boxes_px, image_size)[0]

    def encode_with_report(
        self, boxes_px: npt.ArrayLike, image_size: tuple[int, int]
    ) -> tuple[str, BoxReport]:
        """Write boxes as ``[x1, y1, x2, y2]``, several joined by ``", "``.

        A box that has no width or height after rounding would teach a model a box nobody can hit; it is
        dropped and counted, so that a converter can say how many records vanish at this range.

        Args:
            boxes_px: [N, 4] corners x1, y1, x2, y2 in pixels, any corner order.
            image_size: (width, height) in pixels.

        Returns:
            The text, empty when no box is left, and the report.

        Raises:
            ValueError: the array is not [N, 4], a value is not finite, or the image size is not positive.
        """
        units = _as_boxes(boxes_px) * (self.range / _sides(image_size))
        return self._write(units)

    def encode_units(self, boxes: npt.ArrayLike) -> str:
        """Write boxes that are already on the 0..range scale; otherwise as `encode`."""
        return self._write(_as_boxes(boxes))[0]

    def decode(self, text: str, image_size: tuple[int, int]) -> tuple[Boxes, BoxReport]:
        """Read every box of a text; no text makes this raise.

        Args:
            text: a model's answer, or a prompt that holds a box.
            image_size: (width, height) of the image in pixels.

        Returns:
            [N, 4] float64 corners x1 < x2, y1 < y2 in pixels, in the order of the text, and the report.

        Raises:
            ValueError: the image size is not positive.
        """
        units, report = self.decode_units(text)
        return units * (_sides(image_size) / self.range), report

    def decode_units(self, text: str) -> tuple[Boxes, BoxReport]:
        """As `decode`, but on the 0..range scale of the text."""
        events: Counter[str] = Counter()
        rows: list[list[float]] = []
        turned: list[bool] = []
        for numbers, notes in _find_boxes(text):
            events.update(notes)
            if len(numbers) == 4:
                rows.append(numbers)
                turned.append(_ANGLE in notes)
        corners = np.array(rows, dtype=np.float64).reshape(-1, 4)
        return self._repair(corners, np.array(turned, dtype=bool), events)

    def _write(self, units: Boxes) -> tuple[str, BoxReport]:
        # The frame is closed before rounding: a corner a hair outside must land on the edge, not beyond it.
        rounded, report = self._repair(units, np.zeros(len(units), bool), Counter(), self.decimals)
        boxes = (", ".join(f"{value:.{self.decimals}f}" for value in box) for box in rounded)
        return ", ".join(f"[{box}]" for box in boxes), report

    def _repair(
        self,
        corners: Boxes,
        touched: npt.NDArray[np.bool_],
        events: Counter[str],
        decimals: int | None = None,
    ) -> tuple[Boxes, BoxReport]:
        """Sort corners, clamp, round if asked, drop what has no area; `events` gains the counts."""
        low, high = np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])
        ordered = np.concatenate([low, high], axis=1)
        # The added zero turns -0.0 into 0.0, which would otherwise be written as "-0".
        clamped = np.clip(ordered, 0.0, float(self.range)) + 0.0
        boxes = clamped if decimals is None else np.round(clamped, decimals)
        kept = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        swapped = (ordered != corners).any(axis=1) & kept
        outside = (clamped != ordered).any(axis=1) & kept
        for note, count in ((_SWAPPED, swapped.sum()), (_CLAMPED, outside.sum()), (_NO_AREA, (~kept).sum())):
            events[note] += int(count)
        report = BoxReport(
            found=len(corners) + events[_NOT_FOUR],
            repaired=int(((touched & kept) | swapped | outside).sum()),
            dropped=events[_NO_AREA] + events[_NOT_FOUR],
            notes=tuple(f"{note}: {count}" for note, count in events.items() if count),
        )
        return boxes[kept], report


def _as_boxes(boxes: npt.ArrayLike) -> Boxes:
    array = np.asarray(boxes, dtype=np.float64)
    if array.size == 0:
        return np.zeros((0, 4))
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"boxes must be an [N, 4] array of x1, y1, x2, y2, got shape {list(array.shape)}")
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if bad.size:
        raise ValueError(f"box {bad[0]} holds a value that is not finite: {array[bad[0]].tolist()}")
    return array


def _sides(image_size: tuple[int, int]) -> Boxes:
    return np.array(check_image_size(image_size) * 2, dtype=np.float64)


def _find_boxes(text: str) -> Iterator[_Found]:
    """Yield the numbers and the notes of every bracket that tries to be a box; not four: dropped."""
    for match in _BRACKETS.finditer(text):
        kind = match.lastgroup or ""
        if kind in ("cells", "angle", "points"):
            numbers, notes = _read_runs(match)
        else:
            found = _read_bracket(kind, match[kind])
            if found is None:
                continue
            numbers, notes = found
        yield (numbers, notes) if len(numbers) == 4 else ([], (_NOT_FOUR,))


def _read_runs(match: re.Match[str]) -> _Found:
    """Numbers of ``<x1><y1><x2><y2>``, with or without an angle, and of ``(x1,y1),(x2,y2)``."""
    if match["points"]:
        return _numbers(match["points"]), ("written as (x1,y1),(x2,y2)",)
    turned = match["angle"] is not None and _numbers(match["angle"])[0] % 180 != 0
    return _numbers(match["cells"]), ("written as <x1><y1><x2><y2>", *([_ANGLE] if turned else []))


def _read_bracket(kind: str, body: str) -> _Found | None:
    """Numbers of one bracket, none if it only looks like a box, and None if it is prose."""
    words = [word for word in _SEPARATORS.split(body) if word]
    numeric = all(_NUMBER_ONLY.fullmatch(word) for word in words)
    if kind == "unclosed" or (kind == "square" and not numeric):
        # Cut off, so that the last number may be half of one, or a box with a slip in it. "[VG]" is neither.
        return ([], ()) if _DIGIT.search(body) else None
    if not numeric or not words or (kind in ("round", "pointed") and len(words) == 1):
        return None  # "(2 ships)", "<p>", "(2)"
    return _numbers(body), () if kind == "square" else ("written in other brackets",)


def _numbers(text: str) -> list[float]:
    return [float(number) for number in _NUMBER_ONLY.findall(text)]
