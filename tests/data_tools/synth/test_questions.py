"""Answers are recounted from the objects by a second reading of the question."""

import re
from collections import Counter
from random import Random

import pytest

from data_tools.synth.items import CATEGORIES, LABEL_INDEX
from data_tools.synth.questions import QUESTION_TYPES, RURAL, URBAN, ask
from data_tools.synth.scene import make_scene

COVERS = {"water area": "water", "wood": "woodland", "farmland": "farmland", "road": "road"}


def answer(scene, text):
    text = text.removesuffix("?").removesuffix(" in the image")
    count = {f"{name}s": len(scene.of(name)) for name in CATEGORIES}
    if match := re.match(r"Are there (more|less) (.+) than (.+)$", text):
        a, b = count[match[2]], count[match[3]]
        return "yes" if (a > b if match[1] == "more" else a < b) else "no"
    if match := re.match(r"Is the number of (.+) equal to the number of (.+)$", text):
        return "yes" if count[match[1]] == count[match[2]] else "no"
    if match := re.match(r"(?:How many|What is the (?:number|amount) of) (.+?)(?: are there)?$", text):
        return str(count[match[1]])
    if match := re.match(r"Is (?:there )?an? (.+?)(?: present)?$", text):
        noun = match[1]
        there = scene.of(noun) if noun in CATEGORIES else (scene.labels == LABEL_INDEX[COVERS[noun]]).any()
        return "yes" if there else "no"
    assert text == "Is it a rural or an urban area"
    return "urban" if scene.kind in URBAN else "rural" if scene.kind in RURAL else "unclear"


@pytest.fixture(scope="module")
def asked():
    scenes = [make_scene(31, index, 64) for index in range(250)]
    return [(scene, question) for scene in scenes for question in ask(scene, Random(scene.index), 4)]


def test_answers_agree_with_the_objects(asked):
    for scene, question in asked:
        assert question.answer == answer(scene, question.text), (scene.index, question)


def test_types_and_answers_are_balanced(asked):
    kinds = Counter(question.kind for _, question in asked)
    assert set(kinds) == set(QUESTION_TYPES)
    said = Counter(question.answer for _, question in asked if question.kind in ("presence", "comp"))
    assert 0.35 < said["yes"] / said.total() < 0.65


def test_no_ships_are_counted_beside_moored_boats(asked):
    for scene, question in asked:
        if scene.of("harbor"):
            assert "ship" not in question.text
