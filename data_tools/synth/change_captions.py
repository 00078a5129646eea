"""Change captions in the manner of LEVIR-CC: lower case, detached final stop, five references a pair."""

from __future__ import annotations

from random import Random

from data_tools.synth.pairs import Pair

NO_CHANGE = (
    "the scene is the same as before",
    "there is no difference",
    "the two scenes seem identical",
    "no change has occurred",
    "almost nothing has changed",
)
_NUMBERS = {2: "two", 3: "three", 4: "four"}
_GROUND = {
    "bareland": ("on the bareland", "the bareland"),
    "forest": ("in the forest", "the trees"),
    "meadow": ("on the grass", "the grass"),
    "farmland": ("on the farmland", "the farmland"),
}


def change_captions(pair: Pair, rng: Random, count: int = 5) -> list[str]:
    """Return up to ``count`` different captions of the change of a pair, the plainest first."""
    sentences = list(dict.fromkeys(_sentences(pair)))
    first, rest = sentences[0], sentences[1:]
    rng.shuffle(rest)
    return [f"{sentence} ." for sentence in [first, *rest][:count]]


def _houses(count: int, noun: str) -> tuple[str, str, str]:
    """Return (phrase, "is" or "are", "has" or "have")."""
    if count == 1:
        return f"a {noun}", "is", "has"
    word = _NUMBERS.get(count, "some" if count <= 8 else "many")
    return f"{word} {noun}s", "are", "have"


def _sentences(pair: Pair) -> list[str]:
    where, former = _GROUND[pair.ground]
    if pair.change == "none":
        return list(NO_CHANGE)
    if pair.change == "road":
        return [
            f"a road is built {where}",
            f"a road has been built {where}",
            f"a new road appears {where}",
            f"a road replaces part of {former}",
            "a road is built across the scene",
        ]
    phrase, be, have = _houses(pair.houses, "house")
    buildings = _houses(pair.houses, "building")[0]
    appear = "appears" if pair.houses == 1 else "appear"
    corner = f"in the {pair.where} corner" if pair.where else where
    if pair.change == "demolition":
        vanish = "disappears" if pair.houses == 1 else "disappear"
        return [
            f"{phrase} {have} been demolished",
            f"{phrase} {be} removed",
            f"{phrase} {vanish} {corner}",
            f"{buildings} {vanish}",
            f"{buildings} {have} been removed {where}",
        ]
    if pair.change == "houses and road":
        return [
            f"a road is built {where} and {phrase} {be} built along it",
            f"a road with {phrase} built along replaces {former}",
            f"{phrase} {be} built along a new road {where}",
            f"a road and {phrase} appear {where}",
            f"{former} {'are' if pair.ground == 'forest' else 'is'} replaced by a road with {phrase}",
        ]
    sentences = [
        f"{phrase} {be} built {where}",
        f"{phrase} {have} been built {where}",
        f"{buildings} {appear} {where}",
        f"{phrase} {be} built {corner}",
        f"{phrase} {appear} {corner}",
    ]
    if pair.ground == "forest":
        sentences.append(f"some trees are removed and {phrase} {appear}")
    return sentences
