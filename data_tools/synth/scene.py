"""From a seed to a scene: what is there, what it looks like, and where every label is.

``make_scene`` composes the items of a scene and chooses a style; ``render`` draws the picture and
``label_map`` the pixel labels from the same outlines. Nothing here depends on global random state, so a
scene is a pure function of (seed, index, size, split); training and evaluation splits draw from different
streams by construction, because the split's name is part of the random seed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from random import Random

import numpy as np
from PIL import Image

from data_tools.synth.geometry import Box, bounds, clip_polygon
from data_tools.synth.items import (
    LABEL_INDEX,
    LABELS,
    UNLABELLED_KINDS,
    Item,
    SceneObject,
    in_drawing_order,
)
from data_tools.synth.layouts_facilities import FACILITIES
from data_tools.synth.layouts_nature import NATURE
from data_tools.synth.layouts_town import TOWN
from data_tools.synth.objects import DRAW
from data_tools.synth.outlines import object_of, outlines
from data_tools.synth.painter import LabelPainter, Painter
from data_tools.synth.site import Site
from data_tools.synth.style import Style, develop, draw_style

LAYOUTS = dict(sorted({**NATURE, **TOWN, **FACILITIES}.items()))
SCENE_CLASSES = tuple(LAYOUTS)
# Scenes full of countable objects come more often: grounding needs them most.
_FREQUENCY = {
    "forest": 0.5,
    "meadow": 0.5,
    "bare land": 0.5,
    "beach": 0.6,
    "farmland": 0.7,
    "pond": 0.7,
    "river": 0.7,
    "dense residential": 0.7,
    "airport": 2.2,
    "port": 1.8,
    "school": 2.0,
    "baseball field": 1.6,
    "playground": 1.6,
    "storage tanks": 1.6,
    "sea": 1.4,
    "bridge": 1.6,
    "medium residential": 1.8,
    "parking": 1.3,
}

# Order in which labels win a pixel that two of them share equally: things on the ground before the ground.
_GROUND = ("others", "water", "farmland", "woodland", "road")
_RANKED = (*_GROUND, *(label for label in LABELS if label not in _GROUND))
_LABEL_OF_RANK = np.array([LABEL_INDEX[label] for label in _RANKED], np.uint8)


@dataclass(frozen=True)
class Scene:
    """A composed scene.

    ``items`` are in drawing order; ``objects`` are the referable ones with boxes in unit coordinates;
    ``landmarks`` are named regions (pond, river) with the box of their visible part.
    """

    kind: str
    items: tuple[Item, ...]
    style: Style
    size: int
    seed: int = 0
    index: int = 0
    split: str = "train"
    landmarks: tuple[tuple[str, Box], ...] = field(default=())

    @cached_property
    def objects(self) -> tuple[SceneObject, ...]:
        """Every object that is at least partly in the image."""
        found = (object_of(item, index) for index, item in enumerate(self.items))
        return tuple(thing for thing in found if thing is not None)

    @cached_property
    def picture(self) -> Image.Image:
        """The picture, RGB, size x size."""
        return render(self.items, self.style, self.size)

    @cached_property
    def labels(self) -> np.ndarray:
        """The pixel labels (size, size) uint8, indices into ``LABELS``."""
        return label_map(self.items, self.size)

    def of(self, category: str) -> tuple[SceneObject, ...]:
        """Return the objects of one class."""
        return tuple(thing for thing in self.objects if thing.category == category)

    def box_px(self, box: Box) -> tuple[float, float, float, float]:
        """Return a unit box in pixels of the picture."""
        return (box[0] * self.size, box[1] * self.size, box[2] * self.size, box[3] * self.size)


def random_stream(split: str, seed: int, index: int, purpose: str) -> Random:
    """Return the random source of one purpose of one scene; different arguments give unrelated streams."""
    return Random(f"{split}/{seed}/{index}/{purpose}")


def make_scene(
    seed: int, index: int, size: int = 160, split: str = "train", kind: str | None = None
) -> Scene:
    """Compose scene ``index`` of the collection ``seed``.

    Args:
        seed: number of the collection.
        index: number of the scene in it.
        size: side of the picture in pixels.
        split: name of the split; "train" and "eval" never share a scene.
        kind: scene class to make; by default drawn by frequency.

    Raises:
        ValueError: ``kind`` is not one of ``SCENE_CLASSES``.
    """
    if kind is not None and kind not in LAYOUTS:
        raise ValueError(f"unknown scene class {kind!r}; choose from {', '.join(SCENE_CLASSES)}")
    rng = random_stream(split, seed, index, "scene")
    drawn = rng.choices(SCENE_CLASSES, [_FREQUENCY.get(name, 1.0) for name in SCENE_CLASSES])[0]
    kind = kind or drawn
    site = Site(rng)
    LAYOUTS[kind](site)
    style = draw_style(random_stream(split, seed, index, "style"))
    items = in_drawing_order(site.items)
    return Scene(kind, items, style, size, seed, index, split, find_landmarks(items))


def find_landmarks(items: tuple[Item, ...]) -> tuple[tuple[str, Box], ...]:
    """Return the named regions among ``items`` with their boxes cut to the image."""
    return tuple((item.landmark, bounds(clip_polygon(outlines(item)[0]))) for item in items if item.landmark)


def render(items: tuple[Item, ...], style: Style, size: int) -> Image.Image:
    """Draw ``items`` in order and develop the picture (RGB, size x size)."""
    painter = Painter(size, style)
    for item in items:
        DRAW[item.kind](painter, item)
    return develop(painter.canvas, size, style)


def label_map(items: tuple[Item, ...], size: int) -> np.ndarray:
    """Draw the pixel labels of ``items`` (size, size) uint8.

    Ground and roads without a label of their own cover what is below them with "others".
    """
    painter = LabelPainter(size)
    for item in items:
        if item.kind not in UNLABELLED_KINDS:
            for polygon in outlines(item):
                painter.fill(polygon, _RANKED.index(item.label or "others"))
    return _LABEL_OF_RANK[painter.reduced()]
