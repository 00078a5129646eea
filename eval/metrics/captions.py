"""BLEU, ROUGE and CIDEr of captions, as statistics that may be summed over questions.

All n-gram work is pycocoevalcap's own; here it is cut into what one caption contributes, so that the score of
any set of captions follows from sums and a bootstrap never looks at an n-gram again:

- BLEU-1..4 is a function of summed n-gram matches, n-gram counts and lengths (Papineni et al. 2002). The
  reference length of a caption is that of the closest reference, as in coco-caption.
- ROUGE-L (Lin 2004; F with beta 1.2) and ROUGE-1 (F1, best reference) are means over captions.
- CIDEr-D (Vedantam et al. 2015) is a mean over captions too, once its IDF weights are fixed. They are
  counted on the references of *all* questions of the set, also where a part of it is scored.

Captions and references are strings of blank-separated tokens, see `eval.metrics.tokens`. A caption without a
token scores 0 everywhere, whatever a convention may put into it.

Shape legend: N captions, R draws, 4 n-gram orders.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eval.metrics.coco import scorer

NUM_BLEU_STATISTICS = 10
_ORDERS = 4
_TINY, _SMALL = 1e-15, 1e-9  # pycocoevalcap's guards against division by zero; they keep 0 at 0


def bleu_columns(captions: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """Statistics [N, 10]: matched n-grams of order 1..4, n-grams of order 1..4, length, reference length."""
    module = scorer("bleu.bleu_scorer")
    rows = []
    for caption, refs in zip(captions, references, strict=True):
        counts = module.cook_test(caption, module.cook_refs(refs), eff="closest")
        rows.append([*counts["correct"], *counts["guess"], counts["testlen"], counts["reflen"]])
    return np.array(rows, np.float64).reshape(-1, NUM_BLEU_STATISTICS)


def bleu(sums_RS: NDArray[np.float64]) -> NDArray[np.float64]:
    """BLEU-1..4 [R, 4] of a corpus, from sums of `bleu_columns` [R, 10]."""
    matched_R4, given_R4 = sums_RS[:, :_ORDERS], sums_RS[:, _ORDERS : 2 * _ORDERS]
    precision_R4 = (matched_R4 + _TINY) / (given_R4 + _SMALL)
    mean_R4 = np.cumprod(precision_R4, axis=1) ** (1.0 / np.arange(1, _ORDERS + 1))
    ratio_R1 = (sums_RS[:, 8:9] + _TINY) / (sums_RS[:, 9:10] + _SMALL)
    return mean_R4 * np.exp(np.minimum(1.0 - 1.0 / ratio_R1, 0.0))


class Cider:
    """CIDEr-D with the IDF weights of one set of references."""

    def __init__(self, references: Sequence[Sequence[str]]) -> None:
        """Count in how many of the N sets of references each n-gram occurs."""
        self._module = scorer("cider.cider_scorer")
        self._scorer = self._module.CiderScorer()
        for refs in references:
            self._scorer.cook_append(None, refs)
        self._scorer.compute_doc_freq()

    def scores(self, captions: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        """CIDEr-D [N] of each caption; papers print it times 100.

        Args:
            captions: one per set of references that the weights were counted on.
            references: those sets, or others in their place; the weights stay.
        """
        # The scorer has captions and references in plain lists; their length is the number of questions.
        self._scorer.ctest = [self._module.cook_test(caption) for caption in captions]
        self._scorer.crefs = [self._module.cook_refs(refs) for refs in references]
        return np.array(self._scorer.compute_cider(), np.float64)


def rouge_l(captions: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """ROUGE-L [N] of each caption, as coco-caption computes it (best precision and best recall apart)."""
    rouge = scorer("rouge.rouge").Rouge()
    return np.array(
        [
            rouge.calc_score([caption], refs) if caption.strip() else 0.0
            for caption, refs in zip(captions, references, strict=True)
        ],
        np.float64,
    )


def rouge_1(captions: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """ROUGE-1 [N] of each caption: F1 of the words in common, with the reference where it is highest."""
    scores = np.zeros(len(captions))
    for index, (caption, refs) in enumerate(zip(captions, references, strict=True)):
        given = Counter(caption.split())
        for reference in refs:
            wanted = Counter(reference.split())
            common = (given & wanted).total()
            if common:
                scores[index] = max(scores[index], 2 * common / (given.total() + wanted.total()))
    return scores
