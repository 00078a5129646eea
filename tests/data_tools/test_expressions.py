"""A second, independent reading of every expression must find exactly the object it was made for."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_tools.expressions import Thing, choose, expressions

SIZE = (120, 80)
LABELS = ("ship", "vehicle", "small vehicle", "bridge")

SUPERLATIVES = {
    r"leftmost|farthest to the left": (lambda box: box[0] + box[2],),
    r"rightmost|farthest to the right": (lambda box: -box[0] - box[2],),
    r"topmost|uppermost|nearest to the top": (lambda box: box[1] + box[3],),
    r"bottommost|lowermost|nearest to the bottom": (lambda box: -box[1] - box[3],),
    r"largest|biggest": (lambda box: -area(box), lambda box: -diagonal(box)),
    r"smallest": (lambda box: area(box), lambda box: diagonal(box)),
}
SIDES = {"to the left of": (0, -1), "to the right of": (0, 1), "above": (1, -1), "below": (1, 1)}


def area(box: tuple[float, ...]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def diagonal(box: tuple[float, ...]) -> float:
    return math.dist(box[:2], box[2:])


def called(noun: str, things: list[Thing]) -> set[int]:
    """Whatever a reader may call a ``noun``: a small vehicle is a vehicle."""
    return {i for i, thing in enumerate(things) if f" {thing.label}".endswith(f" {noun}")}


def resolve(text: str, things: list[Thing]) -> set[int]:
    """The objects that a text may mean, in a generous reading without margins."""
    relation = re.fullmatch(rf"the (.+?)(?: that lies)? ({'|'.join(SIDES)}) the (.+)", text)
    if relation:
        noun, side, anchor_noun = relation.groups()
        (anchor,) = called(anchor_noun, things)
        axis, sign = SIDES[side]
        offset = {
            i: sign * (things[i].centre[axis] - things[anchor].centre[axis]) for i in called(noun, things)
        }
        return {i for i, distance in offset.items() if distance > 0}
    plain = re.fullmatch(r"the (?:only )?(.+?)(?: in the image)?", text)
    for pattern, keys in SUPERLATIVES.items():
        found = re.search(rf"\b(?:{pattern})\b", text)
        if found:
            plain = re.fullmatch(rf"the (?:{pattern})? ?(.+?)(?: (?:{pattern}).*| in the image)?", text)
            assert plain
            pool = called(plain[1], things)
            return {min(pool, key=lambda i, k=key: k(things[i].box)) for key in keys}
    assert plain
    return called(plain[1], things)


@st.composite
def scenes(draw: st.DrawFn) -> list[Thing]:
    things = []
    for _ in range(draw(st.integers(1, 7))):
        x, y = draw(st.integers(0, SIZE[0] - 2)), draw(st.integers(0, SIZE[1] - 2))
        width = draw(st.integers(1, min(40, SIZE[0] - x)))
        height = draw(st.integers(1, min(40, SIZE[1] - y)))
        box = (float(x), float(y), float(x + width), float(y + height))
        things.append(Thing(draw(st.sampled_from(LABELS)), box, draw(st.integers(0, 3)) > 0))
    return things


@given(scenes(), st.sets(st.sampled_from(LABELS), max_size=1), st.data())
def test_every_wording_means_its_target_alone_and_survives_small_errors(
    things: list[Thing], uncertain: set[str], data: st.DataObject
) -> None:
    slip = st.floats(-0.008 * SIZE[0], 0.008 * SIZE[0])
    moved = []
    for thing in things:
        dx, dy = data.draw(slip), data.draw(slip)
        x1, y1, x2, y2 = thing.box
        moved.append(Thing(thing.label, (x1 + dx, y1 + dy, x2 + dx, y2 + dy)))
    silenced = {name for name in LABELS for other in uncertain if f" {other}".endswith(f" {name}")}
    for hit in expressions(things, SIZE, uncertain):
        assert things[hit.target].askable
        for text in hit.wordings:
            assert resolve(text, things) == {hit.target}, text
            assert resolve(text, moved) == {hit.target}, text
            assert not any(re.search(rf"(?<!small ){name}\b", text) for name in silenced), text


def test_a_scene_worked_by_hand() -> None:
    """Ships at x 10, 30 and 80; the last is the largest. The bridge is alone, between them."""
    things = [
        Thing("ship", (5, 40, 15, 50)),
        Thing("ship", (25, 41, 35, 51)),
        Thing("ship", (70, 46, 90, 64)),
        Thing("bridge", (45, 0, 55, 79)),
    ]
    found = {(hit.target, hit.wordings[0]) for hit in expressions(things, (100, 80))}
    assert found == {
        (0, "the leftmost ship in the image"),
        # Not topmost or smallest: the second ship is as high, within the margin, and as large.
        (2, "the rightmost ship in the image"),
        (2, "the bottommost ship"),
        (2, "the largest ship in the image"),
        (2, "the ship to the right of the bridge"),
        # "Left of the bridge" would be true of two ships.
        (3, "the only bridge in the image"),
    }


@pytest.mark.parametrize(
    ("extra", "uncertain", "lost"),
    [
        (Thing("ship", (60, 60, 61, 61)), (), "ship"),  # a speck is never asked for, but counts
        (Thing("ship", (60, 60, 80, 80), askable=False), (), "the only ship"),
        (Thing("cargo ship", (60, 60, 80, 80)), (), "the only ship"),  # a cargo ship is a ship
        (None, ("ship",), "ship"),
        (None, ("cargo ship",), "ship"),
    ],
)
def test_what_else_there_is_may_silence_a_class(
    extra: Thing | None, uncertain: tuple[str, ...], lost: str
) -> None:
    ship = Thing("ship", (10, 10, 40, 40))
    assert any("the only ship" in hit.wordings for hit in expressions([ship], (100, 100)))
    things = [ship, extra] if extra else [ship]
    texts = [text for hit in expressions(things, (100, 100), uncertain) for text in hit.wordings]
    if extra:
        assert "the only ship" not in texts
        assert all(resolve(text, things) in ({0}, {1}) for text in texts)
    else:
        assert not texts
    assert lost not in texts


def test_the_choice_depends_on_the_key_alone() -> None:
    things = [Thing("ship", (5, 5, 15, 15)), Thing("ship", (60, 60, 90, 90))]
    found = expressions(things, (100, 100))
    wordings = {text for hit in found if hit.target == 0 for text in hit.wordings}
    draws = {tuple(choose(found, 0, 2, f"key {i}")) for i in range(40)}
    assert len(draws) > 3
    for texts in draws:
        assert len(set(texts)) == 2
        assert set(texts) <= wordings
    assert choose(found, 0, 2, "key 7") == choose(list(found), 0, 2, "key 7")
    assert len(choose(found, 0, 99, "key 7")) == sum(hit.target == 0 for hit in found)


def test_expressions_of_real_boxes_mean_their_target_alone(rs_sample: Callable[[str], Path]) -> None:
    content = json.loads((rs_sample("vhr10") / "annotations_val.json").read_text())
    names = {entry["id"]: entry["name"].replace("_", " ") for entry in content["categories"]}
    count = 0
    for image in content["images"]:
        things = [
            Thing(names[entry["category_id"]], (x, y, x + width, y + height))
            for entry in content["annotations"]
            if entry["image_id"] == image["id"]
            for x, y, width, height in [entry["bbox"]]
        ]
        for hit in expressions(things, (image["width"], image["height"])):
            count += 1
            for text in hit.wordings:
                assert resolve(text, things) == {hit.target}, (image, text)
    assert count > 100
