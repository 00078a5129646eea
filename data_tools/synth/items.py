"""The vocabulary of a scene: items on the ground, object categories and pixel labels.

A scene is a list of ``Item`` in drawing order. An item is pure data in unit coordinates, so the same list
can be drawn under another style, without one object, or as a label map.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from data_tools.synth.geometry import Box, Point, box_area

# The ten classes of NWPU VHR-10 under its own names, and buildings.
CATEGORIES = (
    "airplane",
    "ship",
    "storage tank",
    "baseball diamond",
    "tennis court",
    "basketball court",
    "ground track field",
    "harbor",
    "bridge",
    "vehicle",
    "building",
)
# Pixel labels. Index in this tuple = value in a mask file; 0 is everything else.
LABELS = (
    "others",
    "building",
    "road",
    "water",
    "woodland",
    "farmland",
    "vehicle",
    "airplane",
    "ship",
    "storage tank",
    "tennis court",
    "basketball court",
    "baseball diamond",
    "ground track field",
    "harbor",
    "bridge",
)
# Kinds that lie on the ground without changing its label.
UNLABELLED_KINDS = frozenset({"marking", "patch"})
LABEL_INDEX = {name: index for index, name in enumerate(LABELS)}


@dataclass(frozen=True)
class Item:
    """One thing on the ground.

    ``kind`` selects the drawing routine. Areas and roads use ``points`` (and ``width`` for bands); placed
    objects use x, y, length, width and angle. ``label`` is a pixel label or "" to leave the label map as it
    is; ``category`` is an object class or ""; ``landmark`` names a region an expression may refer to.
    """

    kind: str
    x: float = 0.5
    y: float = 0.5
    length: float = 0.0
    width: float = 0.0
    angle: float = 0.0
    points: tuple[Point, ...] = ()
    material: str = ""
    colour: str = ""
    accent: str = ""
    variant: str = ""
    height: float = 0.0
    tone: float = 1.0
    seed: int = 0
    label: str = ""
    category: str = ""
    landmark: str = ""


_LAYERS = {"area": 0, "patch": 0, "stream": 0, "road": 1, "marking": 2}


def in_drawing_order(items: Iterable[Item]) -> tuple[Item, ...]:
    """Return items from the ground up: areas and water, roads, painted marks, then all that stands on them.

    The order within a layer is kept. Layouts may therefore lay a pad or a lawn after the things on it.
    """
    return tuple(sorted(items, key=lambda item: _LAYERS.get(item.kind, 3)))


@dataclass(frozen=True)
class SceneObject:
    """A referable object: its class, its colour name ("" if none applies) and where it is.

    ``box`` is (x1, y1, x2, y2) in unit coordinates, cut to the image; ``visible`` is the share of the
    uncut box that lies inside the image.
    """

    category: str
    colour: str
    box: Box
    visible: float
    item: int

    @property
    def centre(self) -> Point:
        """Centre of the box in unit coordinates."""
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2

    @property
    def area(self) -> float:
        """Area of the box as a share of the image."""
        return box_area(self.box)
