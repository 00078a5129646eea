"""Constant answers against brute force, and never fitted on their own image."""

from collections import Counter

import numpy as np
import pytest

from eval.text_baselines import (
    central_caption,
    central_caption_elsewhere,
    most_frequent,
    most_frequent_by_group,
    most_frequent_elsewhere,
)

WORDS = [
    "many",
    "green",
    "trees",
    "are",
    "around",
    "a",
    "large",
    "pond",
    "near",
    "two",
    "houses",
    "and",
    "road",
]


def test_most_frequent_takes_the_first_of_equals():
    assert most_frequent(["b", "a", "b", "a"]) == "a"
    assert most_frequent_by_group(["x", "x", "y", "x"], ["no", "yes", "no", "yes"]) == {"x": "yes", "y": "no"}


def test_most_frequent_elsewhere_equals_brute_force():
    rng = np.random.default_rng(0)
    groups, values = rng.choice(["g", "h"], 60).tolist(), rng.choice(["yes", "no", "3"], 60).tolist()
    images = rng.integers(0, 15, 60).tolist()
    found = most_frequent_elsewhere(groups, values, images)
    for index, (group, image) in enumerate(zip(groups, images, strict=True)):
        others = Counter(
            value for value, g, i in zip(values, groups, images, strict=True) if g == group and i != image
        )
        assert others[found[index]] == max(others.values())


def test_a_group_of_one_image_falls_back_to_all_questions():
    groups, values = ["rare", "often", "often"], ["blue", "no", "no"]
    assert most_frequent_elsewhere(groups, values, ["a", "b", "c"]) == ["no", "no", "no"]
    assert most_frequent_elsewhere(groups, values, ["a", "a", "a"]) is None


def caption_sets(seed, count=12):
    rng = np.random.default_rng(seed)
    sets = []
    for _ in range(count):
        sets.append([" ".join(rng.choice(WORDS, rng.integers(2, 9))) for _ in range(rng.integers(1, 4))])
    sets[3] = list(sets[5])  # a caption may be known from several images
    return sets


def nearness(sets):
    """Mean similarity of every caption to the references of every image, shape (captions, images)."""

    def grams(text, order):
        words = text.split()
        return Counter(tuple(words[i : i + order]) for i in range(len(words) - order + 1))

    def cosine(a, b):
        total = 0.0
        for order in (1, 2, 3, 4):
            x, y = grams(a, order), grams(b, order)
            seen = {
                gram: sum(any(gram in grams(ref, order) for ref in refs) for refs in sets) for gram in (x | y)
            }
            vx, vy = (
                {gram: n * np.log(len(sets) / seen[gram]) for gram, n in counts.items()} for counts in (x, y)
            )
            length = np.sqrt(sum(v * v for v in vx.values()) * sum(v * v for v in vy.values()))
            total += sum(vx[g] * vy.get(g, 0) for g in vx) / length if length else 0.0
        return total

    captions = sorted({text for refs in sets for text in refs})
    table = [[np.mean([cosine(text, ref) for ref in refs]) for refs in sets] for text in captions]
    return captions, np.array(table)


@pytest.mark.parametrize("seed", range(3))
def test_central_caption_is_nearest_on_average(seed):
    sets = caption_sets(seed)
    captions, near = nearness(sets)
    assert central_caption(sets) == captions[int(near.sum(axis=1).argmax())]


@pytest.mark.parametrize("seed", range(3))
def test_central_caption_elsewhere_knows_no_caption_of_its_own_image(seed):
    sets = caption_sets(seed)
    images = [index // 2 for index in range(len(sets))]  # two questions each
    captions, near = nearness(sets)
    found = central_caption_elsewhere(sets, images)
    for index, image in enumerate(images):
        others = [k for k, other in enumerate(images) if other != image]
        known = [n for n, text in enumerate(captions) if any(text in sets[k] for k in others)]
        best = max(known, key=lambda n: near[n, others].sum())
        assert near[captions.index(found[index]), others].sum() == pytest.approx(near[best, others].sum())
        assert found[index] in {text for k in others for text in sets[k]}
    assert central_caption_elsewhere(sets, ["same"] * len(sets)) is None


def test_punctuation_alone_is_no_caption():
    assert central_caption([["a pond .", "..."], ["a pond"], ["many trees"]]) in ("a pond", "a pond .")
