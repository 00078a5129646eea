"""METEOR 1.5, by the jar that pycocoevalcap brings, as statistics that may be summed.

METEOR aligns the words of a caption with those of the best fitting reference: equal words, words with one
stem, synonyms, paraphrases. The jar prints counts for every caption (23 numbers, see `_LAYOUT`), and its
score of a corpus is a function of their sums. That function is `score`; it is METEOR's published formula
(Denkowski and Lavie, "Meteor Universal", 2014) with the English parameters of version 1.5, and equals what
the jar prints for whole corpora. So intervals need no second alignment.

Shape legend: N captions, S = 23 statistics, R draws, M = 4 matchers (exact, stem, synonym, paraphrase).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eval.metrics.coco import NO_JAVA, java, run_java, scorer

_LAYOUT = (
    *("caption words", "reference words", "caption function words", "reference function words"),
    *(
        f"{matcher}: {side} {kind} words matched"
        for matcher in ("exact", "stem", "synonym", "paraphrase")
        for kind in ("content", "function")
        for side in ("caption", "reference")
    ),
    *("chunks", "caption words matched", "reference words matched"),
)
NUM_STATISTICS = len(_LAYOUT)
_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.2, 0.6, 0.75
_MATCHER_WEIGHTS_M = np.array([1.0, 0.6, 0.8, 0.6])
_KIND_WEIGHTS = np.array([_DELTA, 1.0 - _DELTA])  # content, function
_DIGITS = str.maketrans("0123456789", "bcdfghjkmp")

Pair = tuple[str, tuple[str, ...]]  # a caption and its references, as strings of tokens


def missing() -> str | None:
    """Why METEOR cannot be computed here; None when it can."""
    return None if java() else NO_JAVA


def statistics(pairs: Sequence[Pair], *, exact_only: bool = False) -> NDArray[np.float64]:
    """Align captions with their references, in one start of the jar.

    Args:
        pairs: captions with at least one reference each.
        exact_only: hide the words from the jar behind made-up ones, so that only equal words match.

    Returns:
        Shape (N, 23); the reference is the one with the highest score for the caption alone.

    Raises:
        ValueError: pycocoevalcap or Java is missing, or the jar fails.
    """
    if not pairs:
        return np.zeros((0, NUM_STATISTICS))
    module = scorer("meteor.meteor")
    if exact_only:
        pairs = _disguise(pairs)
    lines = [
        " ||| ".join(("SCORE", *(_plain(text) for text in references), _plain(caption)))
        for caption, references in pairs
    ]
    arguments = ("-Xmx2G", "-jar", module.METEOR_JAR, "-", "-", "-stdio", "-l", "en", "-norm")
    answers = run_java(arguments, lines, Path(module.__file__).parent)
    statistics_NS = np.array([line.split() for line in answers], np.float64)
    # A caption that equals its reference is one chunk, but METEOR calls it not fragmented at all, alone and
    # in a corpus.
    matched_N2, words_N2 = statistics_NS[:, [21, 22]], statistics_NS[:, [0, 1]]
    whole_N = (matched_N2 == words_N2).all(axis=1) & (statistics_NS[:, 20] == 1)
    statistics_NS[whole_N, 20] = 0
    return statistics_NS


def score(sums_RS: NDArray[np.float64]) -> NDArray[np.float64]:
    """METEOR [R] from sums of `statistics`, in fractions; 0 where nothing matches."""
    caption_R, reference_R, caption_function_R, reference_function_R = sums_RS[:, :4].T
    matches_RMKS = sums_RS[:, 4:20].reshape(-1, 4, 2, 2)  # matcher, content or function, caption or reference
    weighted_R2 = np.einsum("rmks,m,k->rs", matches_RMKS, _MATCHER_WEIGHTS_M, _KIND_WEIGHTS)
    chunks_R, caption_matched_R, reference_matched_R = sums_RS[:, 20:].T
    with np.errstate(divide="ignore", invalid="ignore"):  # no match, no word
        precision_R = weighted_R2[:, 0] / _weighted_length(caption_R, caption_function_R)
        recall_R = weighted_R2[:, 1] / _weighted_length(reference_R, reference_function_R)
        mean_R = 1.0 / ((1.0 - _ALPHA) / precision_R + _ALPHA / recall_R)
        fragments_R = chunks_R / ((caption_matched_R + reference_matched_R) / 2.0)
        return np.nan_to_num(mean_R * (1.0 - _GAMMA * fragments_R**_BETA))


def _weighted_length(
    words_R: NDArray[np.float64], function_words_R: NDArray[np.float64]
) -> NDArray[np.float64]:
    return _DELTA * (words_R - function_words_R) + (1.0 - _DELTA) * function_words_R


def _plain(text: str) -> str:
    """The text on one line, without the jar's field separator."""
    return " ".join(text.replace("|||", " ").split())


def _disguise(pairs: Sequence[Pair]) -> list[Pair]:
    """Give every word a name without vowels, which no stemmer, thesaurus or phrase table of the jar knows."""
    names: dict[str, str] = {}

    def disguised(text: str) -> str:
        return " ".join(
            names.setdefault(word, "xq" + str(len(names)).translate(_DIGITS)) for word in text.split()
        )

    def all_of(texts: Iterable[str]) -> tuple[str, ...]:
        return tuple(disguised(text) for text in texts)

    return [(disguised(caption), all_of(references)) for caption, references in pairs]
