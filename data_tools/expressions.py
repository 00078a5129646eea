"""Referring expressions that are true of exactly one annotated object, by rule and with a margin.

Detection sets say what is where but not how a person would ask for it. From classes and boxes alone four
kinds of expression can be made and proven: the class where nothing else has it ("the bridge"), an extreme
position ("the leftmost ship"), an extreme size ("the largest storage tank") and a side of a thing that is the
only one of its class ("the vehicle to the left of the bridge"). An expression is offered only when its rule
singles the target out with a margin that survives rounding, sloppy boxes and a reader's doubt; an object
without such an expression is not asked for at all. "Left", "above" and so on are directions in the picture.

Two things would make a proof worthless, so they silence a class in an image altogether: an object whose place
is not known (a crowd, a damaged box, a thing cut in two by the edge of a crop), and a class that includes
another one ("vehicle" beside "small vehicle": a small vehicle is a rival when a vehicle is asked for).
The proof holds as far as the annotation is complete.

The synthetic scenes (`data_tools.synth.expressions`) share the wordings and the geometry, and add what only
they know: colours, landmarks, how much of an object is visible.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

Box = tuple[float, float, float, float]

# All lengths below are shares of the image's longer side.
LEAD = 0.04  # an extreme position leads the next one by so much
GAP = 0.01  # a thing to one side of another keeps this distance from it
MIN_SIDE = 0.02  # smaller objects are rivals, but nobody is asked to find them
# Upright boxes tell little about size: the same ship, turned by 45 degrees, fills a box of several times the
# area. Its diagonal grows by 1.42 at most, so the largest must lead by both.
AREA_RATIO = 2.0
DIAGONAL_RATIO = 1.42

ONLY = ("the only {x} in the image", "the only {x}", "the {x} in the image", "the {x}")


class Placed(Protocol):
    """Anything with a place."""

    @property
    def centre(self) -> tuple[float, float]:
        """Horizontal and vertical position, y down."""


_Placed = TypeVar("_Placed", bound=Placed)

# Each extreme: key (smaller is more extreme) and wordings.
EXTREMES: Mapping[str, tuple[Callable[[Placed], float], tuple[str, ...]]] = {
    "left": (
        lambda thing: thing.centre[0],
        ("the leftmost {x} in the image", "the leftmost {x}", "the {x} farthest to the left"),
    ),
    "right": (
        lambda thing: -thing.centre[0],
        ("the rightmost {x} in the image", "the rightmost {x}", "the {x} farthest to the right"),
    ),
    "top": (
        lambda thing: thing.centre[1],
        ("the topmost {x}", "the uppermost {x}", "the {x} nearest to the top of the image"),
    ),
    "bottom": (
        lambda thing: -thing.centre[1],
        ("the bottommost {x}", "the lowermost {x}", "the {x} nearest to the bottom of the image"),
    ),
}
SIZES: Mapping[str, tuple[str, ...]] = {
    "largest": ("the largest {x} in the image", "the largest {x}", "the biggest {x}"),
    "smallest": ("the smallest {x} in the image", "the smallest {x}"),
}
RELATIONS: Mapping[str, tuple[str, ...]] = {
    "left": ("the {x} to the left of the {y}", "the {x} that lies to the left of the {y}"),
    "right": ("the {x} to the right of the {y}", "the {x} that lies to the right of the {y}"),
    "top": ("the {x} above the {y}", "the {x} that lies above the {y}"),
    "bottom": ("the {x} below the {y}", "the {x} that lies below the {y}"),
}


def first_by(rivals: Sequence[_Placed], key: Callable[[_Placed], float], lead: float) -> _Placed | None:
    """Return the thing with the smallest ``key`` if it leads the next one by ``lead``."""
    ranked = sorted(rivals, key=key)
    if len(ranked) > 1 and key(ranked[1]) - key(ranked[0]) < lead:
        return None
    return ranked[0]


def beyond(thing: Box, anchor: Box, side: str, gap: float) -> bool:
    """Whether box ``thing`` lies on ``side`` of box ``anchor`` by at least ``gap``, not mainly along it.

    The offset across must exceed the offset of the centres along the border, so that "to the left" is not
    said of something that is rather above.
    """
    (tx, ty), (ax, ay) = _centre(thing), _centre(anchor)
    if side in ("left", "right"):
        distance = anchor[0] - thing[2] if side == "left" else thing[0] - anchor[2]
        return distance >= gap and abs(tx - ax) > 1.2 * abs(ty - ay)
    distance = anchor[1] - thing[3] if side == "top" else thing[1] - anchor[3]
    return distance >= gap and abs(ty - ay) > 1.2 * abs(tx - ax)


def loosely_beyond(thing: Box, anchor: Box, side: str) -> bool:
    """Whether ``thing`` might be said to lie on ``side`` of ``anchor``: its centre does, or nearly."""
    (tx, ty), (ax, ay) = _centre(thing), _centre(anchor)
    offsets = {"left": ax - tx, "right": tx - ax, "top": ay - ty, "bottom": ty - ay}
    return offsets[side] > -LEAD


def _centre(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


@dataclass(frozen=True)
class Thing:
    """An annotated object of known extent.

    Attributes:
        label: its class in words.
        box: x1, y1, x2, y2, x right and y down, in one unit for all things of an image.
        askable: may be the target; else it only counts as present (for objects marked as difficult).
    """

    label: str
    box: Box
    askable: bool = True

    @property
    def centre(self) -> tuple[float, float]:
        """Centre of the box."""
        return _centre(self.box)

    @property
    def area(self) -> float:
        """Area of the box."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])

    @property
    def diagonal(self) -> float:
        """Length of the box's diagonal."""
        return math.hypot(self.box[2] - self.box[0], self.box[3] - self.box[1])

    def scaled(self, factor: float) -> Thing:
        """The thing in another unit."""
        x1, y1, x2, y2 = self.box
        return Thing(self.label, (x1 * factor, y1 * factor, x2 * factor, y2 * factor), self.askable)


@dataclass(frozen=True)
class Expression:
    """One statement that is true of one object alone.

    Attributes:
        target: index of the object.
        wordings: ways to say it.
    """

    target: int
    wordings: tuple[str, ...]


def expressions(
    things: Sequence[Thing], image_size: tuple[int, int], uncertain: Collection[str] = ()
) -> list[Expression]:
    """Return every unambiguous statement about the objects of an image.

    Args:
        things: all annotated objects of known extent, boxes in pixels.
        image_size: (width, height) in pixels.
        uncertain: classes that have more objects in the image, of unknown number or place.
    """
    scene = [thing.scaled(1 / max(image_size)) for thing in things]
    found: list[tuple[Thing, tuple[str, ...]]] = []
    for label in sorted({thing.label for thing in scene}):
        if any(_includes(label, name) for name in uncertain):
            continue
        rivals = [thing for thing in scene if _includes(label, thing.label)]
        found += _only(label, rivals) if len(rivals) == 1 else _superlatives(label, rivals)
        found += _relations(label, rivals, scene, uncertain)
    # By identity: two objects may have equal boxes.
    index_of = {id(thing): index for index, thing in enumerate(scene)}
    return [Expression(index_of[id(target)], wordings) for target, wordings in found if _is_speakable(target)]


def choose(found: Sequence[Expression], target: int, count: int, key: str) -> list[str]:
    """Choose up to ``count`` expressions of one object, and a wording for each, by checksums with ``key``."""

    def checksum(hit: Expression, of: str) -> int:
        return zlib.crc32(f"{key}/{of}/{hit.wordings[0]}".encode())

    mine = sorted((hit for hit in found if hit.target == target), key=lambda hit: checksum(hit, "rank"))
    return [hit.wordings[checksum(hit, "wording") % len(hit.wordings)] for hit in mine[:count]]


def _is_speakable(thing: Thing) -> bool:
    x1, y1, x2, y2 = thing.box
    return thing.askable and min(x2 - x1, y2 - y1) >= MIN_SIDE


def _includes(label: str, other: str) -> bool:
    """Whether an object of class ``other`` might be called a ``label``: "small vehicle" is a "vehicle"."""
    return other == label or other.endswith(f" {label}")


def _only(label: str, rivals: Sequence[Thing]) -> Iterator[tuple[Thing, tuple[str, ...]]]:
    if rivals[0].label == label:
        yield rivals[0], tuple(wording.format(x=label) for wording in ONLY)


def _superlatives(label: str, rivals: Sequence[Thing]) -> Iterator[tuple[Thing, tuple[str, ...]]]:
    hits = [(first_by(rivals, key, LEAD), wordings) for key, wordings in EXTREMES.values()]
    hits += [(_first_by_size(rivals, -1), SIZES["largest"]), (_first_by_size(rivals, 1), SIZES["smallest"])]
    for target, wordings in hits:
        if target is not None and target.label == label:
            yield target, tuple(wording.format(x=label) for wording in wordings)


def _first_by_size(rivals: Sequence[Thing], sign: int) -> Thing | None:
    def log_area(thing: Thing) -> float:
        return sign * math.log(thing.area)

    def log_diagonal(thing: Thing) -> float:
        return sign * math.log(thing.diagonal)

    by_area = first_by(rivals, log_area, math.log(AREA_RATIO))
    return by_area if by_area is first_by(rivals, log_diagonal, math.log(DIAGONAL_RATIO)) else None


def _relations(
    label: str, rivals: Sequence[Thing], scene: Sequence[Thing], uncertain: Collection[str]
) -> Iterator[tuple[Thing, tuple[str, ...]]]:
    for anchor in scene:
        name = anchor.label
        if (
            not _is_speakable(anchor)
            or sum(_includes(name, thing.label) for thing in scene) > 1
            or any(_includes(name, other) for other in uncertain)
        ):
            continue
        for side, wordings in RELATIONS.items():
            near = [thing for thing in rivals if loosely_beyond(thing.box, anchor.box, side)]
            # The anchor is among the rivals when it is of the class or of one that the class includes.
            if len(near) == 1 and near[0].label == label and beyond(near[0].box, anchor.box, side, GAP):
                yield near[0], tuple(wording.format(x=label, y=name) for wording in wordings)
