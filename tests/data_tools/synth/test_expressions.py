"""A second, independent reading of every expression must find exactly the object it was made for."""

import re
from collections import Counter
from random import Random

import pytest

from data_tools.synth.expressions import FAMILIES, choose, describe, expressions
from data_tools.synth.scene import make_scene
from data_tools.synth.style import PAINTS

WORDS = {
    r"leftmost|farthest to the left": ("x", 1),
    r"rightmost|farthest to the right": ("x", -1),
    r"topmost|uppermost|nearest to the top": ("y", 1),
    r"bottommost|lowermost|nearest to the bottom": ("y", -1),
    r"largest|biggest": ("area", -1),
    r"smallest": ("area", 1),
}
CORNERS = {"left": (0, None), "right": (1, None), "upper": (None, 0), "lower": (None, 1), "top": (None, 0)}
CORNERS |= {"bottom": (None, 1)}


def measures(box):
    x1, y1, x2, y2 = box
    return {"x": (x1 + x2) / 2, "y": (y1 + y2) / 2, "area": (x2 - x1) * (y2 - y1)}


def solve(text, things):
    """Return the indices of the objects that ``text`` can mean; ``things`` are (category, colour, box)."""
    relation = re.match(
        r"the (.+?) (?:that lies )?(to the left of|to the right of|above|below) the (.+)$", text
    )
    if relation and not text.endswith("of the image"):
        noun, side, anchor = relation.groups()
        anchors = [m for name, _, box in things if name == anchor for m in [measures(box)]]
        assert len(anchors) == 1, text
        sign, axis = {
            "to the left of": (1, "x"),
            "to the right of": (-1, "x"),
            "above": (1, "y"),
            "below": (-1, "y"),
        }[side]
        return [
            index
            for index, (name, _, box) in enumerate(things)
            if name == noun and sign * (anchors[0][axis] - measures(box)[axis]) > 0
        ]
    names = sorted({name for name, _, _ in things}, key=len, reverse=True)
    noun = next(name for name in names if re.search(rf"\b{name}\b", text))
    colour = next((paint for paint in PAINTS if re.search(rf"\b{paint} {noun}\b", text)), None)
    pool = [
        index for index, (name, paint, _) in enumerate(things) if name == noun and colour in (None, paint)
    ]
    for pattern, (key, sign) in WORDS.items():
        if re.search(rf"\b({pattern})\b", text):
            return [min(pool, key=lambda index: sign * measures(things[index][2])[key])]
    place = re.search(
        r"(?:in|at|on) the ((?:upper|lower) (?:left|right)|center|middle|left|right|top|bottom)"
        r"(?: part| side)? of the image",
        text,
    )
    if place is None:
        return pool

    def distance(index):
        m = measures(things[index][2])
        if place[1] in ("center", "middle"):
            return max(abs(m["x"] - 0.5), abs(m["y"] - 0.5))
        offsets = []
        for word in place[1].split():
            x, y = CORNERS[word]
            offsets.append(abs(m["x"] - x) if x is not None else abs(m["y"] - y))
        return max(offsets)

    return [min(pool, key=distance)]


@pytest.fixture(scope="module")
def scenes():
    return [make_scene(21, index) for index in range(300)]


def referents(scene):
    things = [(thing.category, thing.colour, thing.box) for thing in scene.objects]
    return things + [(name, "", box) for name, box in scene.landmarks]


def test_every_expression_means_its_target_alone(scenes):
    families = Counter()
    for scene in scenes:
        things = referents(scene)
        for hit in expressions(scene, Random(scene.index)):
            assert solve(hit.text, things) == [scene.objects.index(hit.target)], (scene.index, hit)
            families[hit.family] += 1
    assert set(families) == set(FAMILIES)
    assert min(families.values()) > 20


def test_meaning_survives_small_errors_of_every_box(scenes):
    """The margins: no object may change the answer by moving by one percent of the image."""
    for scene in scenes[::3]:
        rng = Random(scene.index)
        moved = []
        for name, colour, (x1, y1, x2, y2) in referents(scene):
            dx, dy = rng.uniform(-0.01, 0.01), rng.uniform(-0.01, 0.01)
            moved.append((name, colour, (x1 + dx, y1 + dy, x2 + dx, y2 + dy)))
        for hit in expressions(scene, rng):
            if hit.family != "size":
                assert solve(hit.text, moved) == [scene.objects.index(hit.target)], (scene.index, hit)


def test_colours_that_light_can_confuse_are_not_relied_on(scenes):
    for scene in scenes:
        for hit in expressions(scene, Random(0)):
            if hit.family == "colour":
                assert scene.style.sensor == "rgb"
                rivals = {thing.colour for thing in scene.of(hit.target.category)}
                assert not ({"white", "gray"} <= rivals and hit.target.colour in ("white", "gray"))


def test_choice_and_description(scenes):
    for scene in scenes[:60]:
        found = expressions(scene, None)
        chosen = choose(found, 4, Random(1))
        assert len({hit.text for hit in chosen}) == len(chosen) == min(4, len({hit.text for hit in found}))
        for hit in chosen:
            plain = describe(found, hit.target)
            assert plain.target == hit.target
            assert FAMILIES.index(plain.family) <= FAMILIES.index(hit.family)
