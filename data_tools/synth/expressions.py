"""Referring expressions that are true of exactly one object, by rule and with a margin.

Every family below is a predicate over the objects of a scene (all of them, also those cut by the border),
plus wordings in the style of the rule-made expressions that accompany VHR-10. An expression is offered only
when its predicate singles the target out with a margin that survives rounding, noise and a reader's doubt:
"leftmost" must lead by ``LEAD`` of the image's side, "largest" by ``RATIO`` in area, a colour word must not
compete with a colour that light could turn into it. "Left", "above" and so on are directions in the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from data_tools.expressions import (
    EXTREMES,
    GAP,
    LEAD,
    ONLY,
    RELATIONS,
    SIZES,
    beyond,
    first_by,
    loosely_beyond,
)
from data_tools.synth.geometry import Box
from data_tools.synth.items import SceneObject
from data_tools.synth.scene import Scene
from data_tools.synth.style import CONFUSABLE

RATIO = 1.35
MIN_SIDE = 0.035
MIN_VISIBLE = 0.75
NEAR_EDGE = 0.36
FAR_EDGE = 0.48

FAMILIES = ("only", "extreme", "size", "cell", "colour", "relation")
_FAMILY_WEIGHT = {"only": 2.0, "extreme": 5.0, "size": 1.2, "cell": 1.6, "colour": 1.8, "relation": 3.0}

_CELL_WORDINGS = (
    "the {x} in the {cell} of the image",
    "the {x} located in the {cell} of the image",
    "the {x} in the {cell} part of the image",
)
_CENTRE_WORDINGS = (
    "the {x} in the center of the image",
    "the {x} in the middle of the image",
    "the {x} located at the center of the image",
)
_SIDE_WORDINGS = {
    "left": "the {x} on the left side of the image",
    "right": "the {x} on the right side of the image",
    "top": "the {x} at the top of the image",
    "bottom": "the {x} at the bottom of the image",
}


@dataclass(frozen=True)
class Expression:
    """A wording and the one object it is true of."""

    text: str
    target: SceneObject
    family: str


def _pick(rng: Random | None, wordings: tuple[str, ...]) -> str:
    return wordings[0] if rng is None else rng.choice(wordings)


def is_speakable(thing: SceneObject) -> bool:
    """Whether an object is large and complete enough to be asked for."""
    x1, y1, x2, y2 = thing.box
    return thing.visible >= MIN_VISIBLE and min(x2 - x1, y2 - y1) >= MIN_SIDE


def expressions(scene: Scene, rng: Random | None) -> list[Expression]:
    """Return every unambiguous expression, each in a random wording (the first if ``rng`` is None)."""
    found: list[Expression] = []
    for category in dict.fromkeys(thing.category for thing in scene.objects):
        rivals = scene.of(category)
        found += _only(category, rivals)
        if len(rivals) > 1:
            found += _extremes(category, rivals, rng)
            found += _sizes(category, rivals, rng)
        found += _cells(category, rivals, rng)
        if scene.style.shows_colour:
            found += _colours(category, rivals, rng)
        found += _relations(scene, category, rivals, rng)
    return [expression for expression in found if is_speakable(expression.target)]


def _only(noun: str, rivals: tuple[SceneObject, ...]) -> list[Expression]:
    if len(rivals) != 1:
        return []
    return [Expression(wording.format(x=noun), rivals[0], "only") for wording in ONLY]


def _extremes(noun: str, rivals: tuple[SceneObject, ...], rng: Random | None) -> list[Expression]:
    found = []
    for key, wordings in EXTREMES.values():
        target = first_by(rivals, key, LEAD)
        if target is not None:
            found.append(Expression(_pick(rng, wordings).format(x=noun), target, "extreme"))
    return found


def _sizes(noun: str, rivals: tuple[SceneObject, ...], rng: Random | None) -> list[Expression]:
    if any(thing.visible < 0.98 for thing in rivals):
        return []
    ranked = sorted(rivals, key=lambda thing: thing.area)
    found = []
    if ranked[1].area >= RATIO * ranked[0].area:
        found.append(Expression(_pick(rng, SIZES["smallest"]).format(x=noun), ranked[0], "size"))
    if ranked[-1].area >= RATIO * ranked[-2].area:
        found.append(Expression(_pick(rng, SIZES["largest"]).format(x=noun), ranked[-1], "size"))
    return found


def in_cell(thing: SceneObject, cell: str, edge: float) -> bool:
    """Whether the centre of ``thing`` lies in a corner, on a side or in the centre, counted up to ``edge``.

    ``cell`` is "upper left", ..., "center", "left", "right", "top" or "bottom"; ``edge`` is the depth of a
    corner or side as a share of the image, and half the side of the centre square is ``edge`` - 0.16.
    """
    x, y = thing.centre
    if cell == "center":
        return abs(x - 0.5) < edge - 0.16 and abs(y - 0.5) < edge - 0.16
    tests = {"left": x < edge, "right": x > 1 - edge, "top": y < edge, "bottom": y > 1 - edge}
    tests |= {"upper": tests["top"], "lower": tests["bottom"]}
    return all(tests[word] for word in cell.split())


def _cells(noun: str, rivals: tuple[SceneObject, ...], rng: Random | None) -> list[Expression]:
    """A target well inside a cell, with every rival clearly outside it."""
    found = []
    corners = ("upper left", "upper right", "lower left", "lower right")
    for cell in (*corners, "center", "left", "right", "top", "bottom"):
        near = [thing for thing in rivals if in_cell(thing, cell, FAR_EDGE)]
        if len(near) != 1 or not in_cell(near[0], cell, NEAR_EDGE if cell != "center" else 0.29):
            continue
        if cell in corners:
            wording = _pick(rng, _CELL_WORDINGS).format(x=noun, cell=cell)
        elif cell == "center":
            wording = _pick(rng, _CENTRE_WORDINGS).format(x=noun)
        else:
            wording = _SIDE_WORDINGS[cell].format(x=noun)
        found.append(Expression(wording, near[0], "cell"))
    return found


def _colours(category: str, rivals: tuple[SceneObject, ...], rng: Random | None) -> list[Expression]:
    """Colour alone, or colour with an extreme among the objects of that colour."""
    found = []
    for colour in dict.fromkeys(thing.colour for thing in rivals if thing.colour):
        if any(frozenset((colour, thing.colour)) in CONFUSABLE for thing in rivals):
            continue
        noun = f"{colour} {category}"
        same = tuple(thing for thing in rivals if thing.colour == colour)
        if len(same) == 1:
            found.append(Expression(f"the {noun}", same[0], "colour"))
            found.append(Expression(f"the {noun} in the image", same[0], "colour"))
        elif len(same) < len(rivals):
            found += [Expression(hit.text, hit.target, "colour") for hit in _extremes(noun, same, rng)]
    return found


def anchors(scene: Scene, category: str) -> list[tuple[str, Box]]:
    """Return (noun, box) of the things of which there is exactly one, other than ``category``."""
    singles = [
        (thing.category, thing.box)
        for thing in scene.objects
        if thing.category != category and len(scene.of(thing.category)) == 1 and is_speakable(thing)
    ]
    names = [name for name, _ in scene.landmarks]
    return singles + [(name, box) for name, box in scene.landmarks if names.count(name) == 1]


def _relations(
    scene: Scene, category: str, rivals: tuple[SceneObject, ...], rng: Random | None
) -> list[Expression]:
    found = []
    for noun, box in anchors(scene, category):
        for side, wordings in RELATIONS.items():
            near = [thing for thing in rivals if loosely_beyond(thing.box, box, side)]
            if len(near) == 1 and beyond(near[0].box, box, side, GAP):
                found.append(Expression(_pick(rng, wordings).format(x=category, y=noun), near[0], "relation"))
    return found


def choose(found: list[Expression], count: int, rng: Random) -> list[Expression]:
    """Draw up to ``count`` expressions: varied objects first, classes evenly, families by weight."""
    chosen: list[Expression] = []
    pool = list(found)
    asked: list[SceneObject] = []
    while pool and len(chosen) < count:
        fresh = [hit for hit in pool if hit.target not in asked] or pool
        categories = sorted({hit.target.category for hit in fresh})
        # Houses stand almost everywhere; the classes that give a scene its point should be asked for more.
        category = rng.choices(categories, [0.4 if name == "building" else 1.0 for name in categories])[0]
        fresh = [hit for hit in fresh if hit.target.category == category]
        families = sorted({hit.family for hit in fresh})
        family = rng.choices(families, [_FAMILY_WEIGHT[name] for name in families])[0]
        hit = rng.choice([candidate for candidate in fresh if candidate.family == family])
        chosen.append(hit)
        asked.append(hit.target)
        pool = [candidate for candidate in pool if candidate.text != hit.text]
    return chosen


def describe(found: list[Expression], target: SceneObject) -> Expression:
    """Return the plainest expression of ``target``: families in the order of ``FAMILIES``."""
    mine = [hit for hit in found if hit.target == target]
    return min(mine, key=lambda hit: (FAMILIES.index(hit.family), found.index(hit)))
