"""METEOR's formula by hand, and against pycocoevalcap where there is Java."""

import numpy as np
import pytest

from eval.metrics import meteor

needs_java = pytest.mark.skipif(meteor.missing() is not None, reason=f"METEOR: {meteor.missing()}")
WORDS = [
    "green",
    "trees",
    "tree",
    "are",
    "is",
    "around",
    "large",
    "big",
    "pond",
    "lake",
    "buildings",
    "building",
]


def test_formula_by_hand():
    # 7 and 6 words, 3 and 3 of them function words; 2 content words equal; one phrase of 1 content word
    # stands for one of a content and a function word; 2 chunks.
    statistics = [7, 6, 3, 3, 2, 2, 0, 0, *[0] * 8, 1, 1, 0, 1, 2, 3, 4]
    precision = (2 * 0.75 + 0.6 * 0.75) / (4 * 0.75 + 3 * 0.25)
    recall = (2 * 0.75 + 0.6 * (0.75 + 0.25)) / (3 * 0.75 + 3 * 0.25)
    mean = 1 / (0.15 / precision + 0.85 / recall)
    expected = mean * (1 - 0.6 * (2 / 3.5) ** 0.2)
    nothing = [5, 6, 2, 3, *[0] * 19]
    np.testing.assert_allclose(meteor.score(np.array([statistics, nothing], float)), [expected, 0])


def random_pairs(count):
    rng = np.random.default_rng(0)

    def sentence():
        return " ".join(rng.choice(WORDS, rng.integers(1, 10)))

    pairs = []
    for _ in range(count):
        references = tuple(sentence() for _ in range(rng.integers(1, 4)))
        # A fifth repeats a reference word by word, a tenth says nothing.
        caption = rng.choice([*[sentence()] * 7, *[references[0]] * 2, ""])
        pairs.append((str(caption), references))
    return pairs


@needs_java
def test_equal_to_pycocoevalcap_on_random_captions_and_corpora():
    from pycocoevalcap.meteor.meteor import Meteor

    pairs = random_pairs(200)
    statistics = meteor.statistics(pairs)
    jar = Meteor()
    rng = np.random.default_rng(1)
    for size in (1, 3, 10, 200):
        chosen = rng.choice(200, size, replace=False)
        truth = {int(index): list(pairs[index][1]) for index in chosen}
        answers = {int(index): [pairs[index][0]] for index in chosen}
        overall, each = jar.compute_score(truth, answers)
        np.testing.assert_allclose(meteor.score(statistics[chosen]), each, atol=1e-12)
        assert meteor.score(statistics[chosen].sum(axis=0, keepdims=True))[0] == pytest.approx(overall)


@needs_java
def test_disguised_words_match_only_when_equal():
    pairs = [
        ("big buildings", ("large building",)),  # a synonym and a stem
        ("two ponds", ("two ponds",)),
        ("ponds ||| two", ("two ponds",)),  # the jar's separator is no word
    ]
    scores = meteor.score(meteor.statistics(pairs, exact_only=True))
    assert scores[0] == 0
    assert scores[1] == 1
    assert 0 < scores[2] < 1


def test_without_java_the_reason_is_given(monkeypatch):
    monkeypatch.setattr(meteor, "java", lambda: None)
    assert "Java" in meteor.missing()
