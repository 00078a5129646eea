"""Constant-answer baselines: what text tasks score without looking at an image.

Half of all yes-or-no questions are answered by always saying "no", and one well-chosen caption fits a
surprising share of a dataset. These constants are fitted on a training split where a benchmark has one, else
on the questions about all *other* images.

Shape legend: U different captions, V different n-grams, E entries of all their sparse vectors.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from eval.metrics.tokens import words

_ORDERS = (1, 2, 3, 4)
_CANDIDATES = 64  # captions tried for each left-out image; the best ones over all images


def most_frequent(values: Iterable[str]) -> str:
    """The most frequent of at least one value; of equals the first in alphabetical order."""
    counts = Counter(values)
    return min(counts, key=lambda value: (-counts[value], value))


def most_frequent_by_group(groups: Sequence[str], values: Sequence[str]) -> dict[str, str]:
    """The most frequent value of each group."""
    members = defaultdict(list)
    for group, value in zip(groups, values, strict=True):
        members[group].append(value)
    return {group: most_frequent(found) for group, found in members.items()}


def most_frequent_elsewhere(
    groups: Sequence[str], values: Sequence[str], clusters: Sequence[Hashable]
) -> list[str] | None:
    """For each question, the most frequent value of its group among the questions of all other clusters.

    Args:
        groups: group of each question (e.g. its type).
        values: its true answer.
        clusters: equal keys are the same image.

    Returns:
        A value per question; where a group occurs in one cluster only, the most frequent value of all other
        questions. None when all questions are of one cluster and there is nothing to fit on.
    """
    if len(set(clusters)) < 2:
        return None
    by_group: Mapping[Hashable, Counter[str]] = defaultdict(Counter)
    by_place: Mapping[Hashable, Counter[str]] = defaultdict(Counter)
    for group, value, cluster in zip(groups, values, clusters, strict=True):
        for name in (group, None):  # None stands for all groups
            by_group[name][value] += 1
            by_place[name, cluster][value] += 1
    known: dict[tuple[str, Hashable], str] = {}
    for group, cluster in dict.fromkeys(zip(groups, clusters, strict=True)):
        left = by_group[group] - by_place[group, cluster] or by_group[None] - by_place[None, cluster]
        known[group, cluster] = min(left, key=lambda value: (-left[value], value))
    return [known[key] for key in zip(groups, clusters, strict=True)]


def central_caption(references: Sequence[Sequence[str]]) -> str:
    """The caption that is nearest to all references: the medoid under CIDEr's similarity.

    Nearness is the mean cosine of TF-IDF vectors of n-grams of order 1..4, that is CIDEr without its penalty
    for lengths and clipping. It is linear, so no pair of captions has to be compared.

    Args:
        references: the references of each image, at least one with a letter.
    """
    vectors = _Vectors(references)
    return vectors.captions[int(vectors.similarity(vectors.of_references()).argmax())]


def central_caption_elsewhere(
    references: Sequence[Sequence[str]], clusters: Sequence[Hashable]
) -> list[str] | None:
    """For each image, the caption of other images that is nearest to the references of all other images.

    The 64 captions that are nearest to all references are the candidates.

    Args:
        references: the references of each question.
        clusters: equal keys are the same image.

    Returns:
        A caption per question; None when all questions are about one image.
    """
    codes: dict[Hashable, int] = {}
    cluster_N = np.array([codes.setdefault(key, len(codes)) for key in clusters])
    if len(codes) < 2:
        return None
    vectors = _Vectors(references)
    total_U = vectors.similarity(vectors.of_references())
    candidates_K = np.argsort(-total_U, kind="stable")[:_CANDIDATES]
    place_O = cluster_N[vectors.question_O]
    elsewhere_KC = np.empty((len(candidates_K), len(codes)))
    for k, candidate in enumerate(candidates_K):
        near_U = vectors.similarity(vectors.dense(candidate))
        own_C = np.bincount(place_O, near_U[vectors.caption_O] * vectors.share_O, len(codes))
        found_C = np.bincount(place_O[vectors.caption_O == candidate], minlength=len(codes))
        # A caption of this image alone is not known elsewhere.
        elsewhere_KC[k] = np.where(found_C == found_C.sum(), -np.inf, total_U[candidate] - own_C)
    best_C = candidates_K[elsewhere_KC.argmax(axis=0)]
    return [vectors.captions[best_C[cluster]] for cluster in cluster_N]


class _Vectors:
    """TF-IDF vectors of all different captions, each order of n-grams of length 1.

    Attributes:
        captions: U captions, in alphabetical order.
        caption_E: caption of each entry, ascending.
        ngram_E: its n-gram.
        value_E: its value.
        caption_O: caption of each occurrence.
        question_O: question of each occurrence.
        share_O: weight of each occurrence; those of a question sum to 1.
        share_U: sum of the weights of a caption's occurrences.
    """

    def __init__(self, references: Sequence[Sequence[str]]) -> None:
        unique = sorted({caption for refs in references for caption in refs})
        counts = dict(zip(unique, map(_ngrams, words(unique)), strict=True))
        self.captions = [caption for caption in unique if counts[caption]]
        number = {caption: index for index, caption in enumerate(self.captions)}
        told = [[caption for caption in refs if caption in number] for refs in references]
        seen_in = Counter(ngram for refs in told for ngram in {key for ref in refs for key in counts[ref]})
        ngram_number = {ngram: index for index, ngram in enumerate(seen_in)}
        order_V = np.array([len(ngram) - 1 for ngram in ngram_number])
        idf_V = np.log(len(references) / np.fromiter(seen_in.values(), np.float64))

        entries = [
            (index, ngram_number[ngram], count)
            for index, caption in enumerate(self.captions)
            for ngram, count in counts[caption].items()
        ]
        self.caption_E, self.ngram_E, count_E = np.array(entries, np.int64).T
        value_E = count_E * idf_V[self.ngram_E]
        part_E = self.caption_E * len(_ORDERS) + order_V[self.ngram_E]
        norm_P = np.sqrt(np.bincount(part_E, value_E**2))
        self.value_E = np.divide(value_E, norm_P[part_E], out=value_E, where=norm_P[part_E] > 0)

        self.question_O = np.repeat(np.arange(len(told)), [len(refs) for refs in told])
        self.caption_O = np.array([number[caption] for refs in told for caption in refs])
        self.share_O = np.repeat([1.0 / max(len(refs), 1) for refs in told], [len(refs) for refs in told])
        self.share_U = np.bincount(self.caption_O, self.share_O, len(self.captions))
        self._starts_U = np.searchsorted(self.caption_E, np.arange(len(self.captions)))
        self._size = len(ngram_number)

    def similarity(self, weights_V: NDArray[np.float64]) -> NDArray[np.float64]:
        """Product of each caption's vector with a dense one, shape (U,)."""
        return np.add.reduceat(weights_V[self.ngram_E] * self.value_E, self._starts_U)

    def of_references(self) -> NDArray[np.float64]:
        """The sum over questions of the mean vector of their references, shape (V,)."""
        weights_V = np.zeros(self._size)
        np.add.at(weights_V, self.ngram_E, self.value_E * self.share_U[self.caption_E])
        return weights_V

    def dense(self, caption: int) -> NDArray[np.float64]:
        """The vector of one caption, shape (V,)."""
        weights_V = np.zeros(self._size)
        mine = slice(*np.searchsorted(self.caption_E, [caption, caption + 1]))
        weights_V[self.ngram_E[mine]] = self.value_E[mine]
        return weights_V


def _ngrams(text: str) -> Counter[tuple[str, ...]]:
    tokens = text.split()
    return Counter(
        tuple(tokens[start : start + order]) for order in _ORDERS for start in range(len(tokens) - order + 1)
    )
