"""Questions about a scene in the wording of RSVQA, answered by counting objects and label pixels.

Four types: presence, comparison, count, rural or urban (which RSVQA asks without a question mark). Yes and
no come equally often. A class is asked about only when its count is beyond doubt: no object of it cut badly
by the border or too small to see, and in comparisons of many things a clear difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np

from data_tools.synth.items import CATEGORIES, LABEL_INDEX
from data_tools.synth.scene import Scene

QUESTION_TYPES = ("presence", "comp", "count", "rural_urban")
_TYPE_WEIGHT = {"presence": 0.32, "comp": 0.3, "count": 0.26, "rural_urban": 0.12}
URBAN = frozenset({"dense residential", "medium residential", "industrial", "parking", "school", "port"})
RURAL = frozenset({"farmland", "forest", "meadow", "bare land", "pond", "sparse residential"})
MAX_COUNT = 12
# Ground covers and how RSVQA calls them.
_COVERS = {"water": "water area", "woodland": "wood", "farmland": "farmland", "road": "road"}
_COVER_MIN = 0.02
_SURE_VISIBLE = 0.5
_SURE_SIDE = 0.02


@dataclass(frozen=True)
class Question:
    """A question, its answer and its type."""

    text: str
    answer: str
    kind: str


def article(noun: str) -> str:
    """Return ``noun`` with its indefinite article."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def certain_counts(scene: Scene) -> dict[str, int]:
    """Return the count of every class whose objects are all clearly visible (classes with none included)."""
    certain = {}
    for category in CATEGORIES:
        things = scene.of(category)
        if all(
            thing.visible >= _SURE_VISIBLE
            and min(thing.box[2] - thing.box[0], thing.box[3] - thing.box[1]) >= _SURE_SIDE
            for thing in things
        ):
            certain[category] = len(things)
    if any(item.kind == "harbor" for item in scene.items):
        # Boats moored at a pier belong to the harbor object; nobody could count ships beside them.
        certain.pop("ship", None)
    return certain


def presences(scene: Scene) -> dict[str, bool]:
    """Return noun -> whether it is there, for objects and ground covers beyond doubt."""
    sure = {category: count > 0 for category, count in certain_counts(scene).items()}
    shares = np.bincount(scene.labels.ravel(), minlength=len(LABEL_INDEX)) / scene.labels.size
    for label, noun in _COVERS.items():
        share = shares[LABEL_INDEX[label]]
        if share == 0 or share >= _COVER_MIN:
            sure[noun] = bool(share)
    if any(item.kind == "area" and item.material == "asphalt" for item in scene.items):
        # Runways and paved lots look like roads.
        sure.pop("road", None)
    return sure


def ask(scene: Scene, rng: Random, count: int) -> list[Question]:
    """Return up to ``count`` different questions about a scene."""
    makers = {"presence": _presence, "comp": _comparison, "count": _count, "rural_urban": _setting}
    asked: dict[str, Question] = {}
    for _ in range(4 * count):
        if len(asked) == count:
            break
        kind = rng.choices(QUESTION_TYPES, [_TYPE_WEIGHT[name] for name in QUESTION_TYPES])[0]
        question = makers[kind](scene, rng)
        if question is not None:
            asked.setdefault(question.text, question)
    return list(asked.values())


def _ending(rng: Random) -> str:
    return " in the image?" if rng.random() < 0.3 else "?"


def _presence(scene: Scene, rng: Random) -> Question | None:
    wanted = rng.random() < 0.5
    nouns = [noun for noun, there in presences(scene).items() if there == wanted]
    if not nouns:
        return None
    noun = article(rng.choice(nouns))
    text = rng.choice((f"Is there {noun}", f"Is {noun} present")) + _ending(rng)
    return Question(text, "yes" if wanted else "no", "presence")


def plural(noun: str) -> str:
    """Return the plural of an object class."""
    return f"{noun}s"


def _comparison(scene: Scene, rng: Random) -> Question | None:
    certain = certain_counts(scene)
    present = [name for name, count in certain.items() if count]
    if not present or len(certain) < 2:
        return None
    one = rng.choice(present)
    other = rng.choice(
        [name for name in certain if name != one and (certain[name] or rng.random() < 0.5)] or [one]
    )
    if other == one:
        return None
    if rng.random() < 0.5:
        one, other = other, one
    a, b = certain[one], certain[other]
    if a != b and abs(a - b) < 0.25 * max(a, b):
        return None
    form = (
        rng.choice(("more", "less", "equal"))
        if a != b
        else rng.choice(("more", "less", "equal", "equal", "equal"))
    )
    if form == "equal":
        text = f"Is the number of {plural(one)} equal to the number of {plural(other)}"
    else:
        text = f"Are there {form} {plural(one)} than {plural(other)}"
    true = {"more": a > b, "less": a < b, "equal": a == b}[form]
    return Question(text + _ending(rng), "yes" if true else "no", "comp")


def _count(scene: Scene, rng: Random) -> Question | None:
    certain = certain_counts(scene)
    wanted_zero = rng.random() < 0.2
    names = [name for name, count in certain.items() if (count == 0) == wanted_zero and count <= MAX_COUNT]
    if not names:
        return None
    name = rng.choice(names)
    text = rng.choice(
        (
            f"How many {plural(name)} are there",
            f"What is the number of {plural(name)}",
            f"What is the amount of {plural(name)}",
        )
    )
    return Question(text + _ending(rng), str(certain[name]), "count")


def _setting(scene: Scene, rng: Random) -> Question | None:
    if scene.kind in URBAN:
        return Question("Is it a rural or an urban area", "urban", "rural_urban")
    if scene.kind in RURAL:
        return Question("Is it a rural or an urban area", "rural", "rural_urban")
    return None
