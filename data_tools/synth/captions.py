"""Captions of a scene in the manner of RSICD: short, lower case, with a detached final stop.

Each scene class has a few sentence patterns whose slots are filled from counted facts, so that a caption
never names what is not there. ``captions`` returns several references of the same scene.
"""

from __future__ import annotations

from random import Random

import numpy as np

from data_tools.synth.items import LABEL_INDEX
from data_tools.synth.questions import article, plural
from data_tools.synth.scene import Scene

_NUMBERS = {2: "two", 3: "three", 4: "four"}
# Things worth naming beside the subject, in the order in which people name them.
_COMPANIONS = (
    "ground track field",
    "baseball diamond",
    "tennis court",
    "basketball court",
    "storage tank",
    "building",
    "vehicle",
)
_SPOKEN = {"airplane": "plane", "vehicle": "car", "baseball diamond": "baseball field", "harbor": "pier"}


def quantity(noun: str, count: int) -> str:
    """Return "a plane", "two planes", "several planes" (5 to 8) or "many planes"."""
    if count == 1:
        return article(noun)
    word = _NUMBERS.get(count, "several" if count <= 8 else "many")
    return f"{word} {plural(noun)}"


def _be(count: int) -> str:
    return "is" if count == 1 else "are"


def _spoken(category: str) -> str:
    return _SPOKEN.get(category, category)


def captions(scene: Scene, rng: Random, count: int = 5) -> list[str]:
    """Return up to ``count`` different captions of a scene, the plainest first."""
    sentences = _subject_sentences(scene) + _companion_sentences(scene)
    first, rest = sentences[0], list(dict.fromkeys(sentences[1:]))
    rng.shuffle(rest)
    return [f"{sentence} ." for sentence in [first, *(text for text in rest if text != first)][:count]]


def place_name(scene: Scene) -> str:
    """Return what a caption calls the place as a whole."""
    names = {
        "port": "a port",
        "sea": "the sea",
        "forest": "a forest",
        "meadow": "a piece of green meadow",
        "bare land": "a piece of bareland",
        "farmland": "pieces of farmland",
        "dense residential": "a dense residential area",
        "medium residential": "a medium residential area",
        "sparse residential": "a sparse residential area",
        "industrial": "an industrial area",
        "parking": "a parking lot",
        "storage tanks": "a storage area",
        "baseball field": "a park",
    }
    return names.get(scene.kind, article(scene.kind))


def _trees(scene: Scene) -> str:
    """Return "many green trees" and the like, or "" where there are none worth naming."""
    single = sum(item.kind == "tree" for item in scene.items)
    share = float(np.mean(scene.labels == LABEL_INDEX["woodland"]))
    green = "green " if scene.style.shows_colour and scene.style.season in ("spring", "summer") else ""
    if share > 0.15 or single > 12:
        return f"many {green}trees"
    return f"some {green}trees" if single >= 4 and share > 0.01 else ""


def _subject_sentences(scene: Scene) -> list[str]:
    """Sentences about what makes the scene its class."""
    trees = _trees(scene)
    number = {
        category: len(scene.of(category))
        for category in ("airplane", "ship", "harbor", "building", "vehicle")
    }
    houses, cars = number["building"], number["vehicle"]
    kind = scene.kind
    if kind == "airport":
        planes = number["airplane"]
        if not planes:
            return ["there is an empty apron in an airport"]
        return [
            f"{quantity('plane', planes)} {_be(planes)} parked in an airport",
            f"{quantity('plane', planes)} {_be(planes)} on an airport",
            f"{quantity('plane', planes)} {_be(planes)} parked on the apron of an airport",
        ]
    if kind == "port" and number["harbor"]:
        return [
            "many boats are orderly in a port",
            "many boats are in a port near a wharf",
            "many boats are parked in a port",
        ]
    if kind in ("port", "sea") and number["ship"]:
        ships, where = number["ship"], "a port" if kind == "port" else "the sea"
        return [
            f"{quantity('ship', ships)} {_be(ships)} in {where}",
            f"there {_be(ships)} {quantity('ship', ships)} in {where}",
        ]
    if kind in ("port", "sea"):
        return ["it is a port beside the water" if kind == "port" else "it is a piece of open sea"]
    if kind == "storage tanks":
        tanks = len(scene.of("storage tank"))
        return [
            f"{quantity('storage tank', tanks)} {_be(tanks)} in a storage area",
            f"there {_be(tanks)} {quantity('storage tank', tanks)} on the ground",
        ]
    if kind == "parking":
        if not cars:
            return ["a parking lot is empty", "there is an empty parking lot"]
        return [
            f"{quantity('car', cars)} {_be(cars)} parked in a parking lot",
            f"{quantity('car', cars)} {_be(cars)} in a parking lot",
        ]
    if kind.endswith("residential") or kind == "industrial":
        if not houses:
            return [f"{trees or 'a road'} can be seen in {place_name(scene)}"]
        with_trees = f"{quantity('building', houses)} and {trees}" if trees else quantity("building", houses)
        verb = "are" if trees else _be(houses)
        return [
            f"{with_trees} {verb} in {place_name(scene)}",
            f"{quantity('building', houses)} {_be(houses)} in {place_name(scene)}",
        ]
    return _open_country(scene, trees)


def _open_country(scene: Scene, trees: str) -> list[str]:
    """Sentences for the classes whose subject is the ground or one facility."""
    kind = scene.kind
    water = next((item for item in scene.items if item.landmark), None)
    both_sides = f"{trees} are in two sides of" if trees else "there is open ground on two sides of"
    if kind == "river" and water is not None:
        return [
            f"{both_sides} a curved river",
            "a curved river goes through the land",
            f"{both_sides} a river",
        ]
    if kind == "bridge":
        bridges = len(scene.of("bridge"))
        verb = "is" if bridges == 1 else "are"
        return [
            f"{quantity('bridge', bridges)} {verb} over a river",
            f"{quantity('bridge', bridges)} {verb} on a river",
            f"a river with {quantity('bridge', bridges)} over it",
        ]
    if kind == "pond":
        around = f"{trees} are around a pond" if trees else "a pond is in the grass"
        return [around, "there is an irregular pond", f"a pond is surrounded by {trees or 'meadows'}"]
    if kind == "forest":
        return [
            "many green trees are in a piece of forest",
            "many trees form a piece of forest",
            "this piece of the forest is dense",
        ]
    if kind == "farmland":
        return [
            "many pieces of farmlands are together",
            "several pieces of farmlands are together",
            "it is a large piece of farmland",
        ]
    if kind == "beach":
        return [
            "a piece of sand beach is near the sea",
            "waves of the sea slap a beach",
            "a beach is between the land and the sea",
        ]
    if kind == "playground" and scene.of("ground track field"):
        near = (
            f"{trees} are near a playground with a track field"
            if trees
            else "a track field is in a playground"
        )
        return [
            near,
            "the playground consists of a track and a football field",
            "a football field is surrounded by a track",
        ]
    if kind == "baseball field" and scene.of("baseball diamond"):
        fields = len(scene.of("baseball diamond"))
        near = f"near {trees}" if trees else "in a park"
        return [
            f"{quantity('baseball field', fields)} {_be(fields)} {near}",
            f"there {_be(fields)} {quantity('baseball field', fields)}",
        ]
    if kind == "school":
        courts = [name for name in ("tennis court", "basketball court") if scene.of(name)]
        named = " and ".join(quantity(name, len(scene.of(name))) for name in courts)
        return [
            f"{named} are near some buildings in a school" if named else "some buildings are in a school",
            "some buildings are in a school",
        ]
    name = place_name(scene)
    beside = f"{trees} are in {name}" if trees else f"it is {name}"
    return [beside, f"it is {name}"]


def _companion_sentences(scene: Scene) -> list[str]:
    """Sentences that add one further kind of thing to the place."""
    name = place_name(scene)
    found = []
    for category in _COMPANIONS:
        things = [thing for thing in scene.of(category) if thing.visible >= 0.5]
        if things and category.split()[0] not in scene.kind:
            phrase = quantity(_spoken(category), len(things))
            found.append(f"{phrase} {_be(len(things))} in {name}")
    if any(item.kind == "road" for item in scene.items):
        found.append(f"a road goes through {name}")
    return found
