"""Accuracy over all, per group and as the mean of groups; and the confusion matrix.

The same three numbers serve two tasks. Groups of a scene classification are the true classes, and the mean
of groups is called balanced accuracy: equal to the accuracy where all classes have the same number of images
(NWPU-RESISC45, SIRI-WHU), different elsewhere (AID, WHU-RS19). Groups of visual question answering are the
question types, and the mean of groups is what most papers print as the average.

Shape legend: N questions, G groups, C classes, R draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


def grouped_columns(right_N: ArrayLike, group_N: ArrayLike, num_groups: int) -> NDArray[np.float64]:
    """Statistics [N, 2G] that may be summed over questions: right answers by group, questions by group.

    Args:
        right_N: whether each answer is right.
        group_N: index of each question's group.
        num_groups: G.
    """
    right, group = np.asarray(right_N, bool), np.asarray(group_N, np.int64)
    columns_N2G = np.zeros((len(group), 2 * num_groups))
    rows = np.arange(len(group))
    columns_N2G[rows, group] = right
    columns_N2G[rows, num_groups + group] = 1
    return columns_N2G


@dataclass(frozen=True)
class Accuracies:
    """Shares of right answers; NaN where there was no question.

    Attributes:
        micro: over all questions, shape (R,).
        macro: mean over the groups that have questions, shape (R,).
        by_group: within each group, shape (R, G).
    """

    micro: NDArray[np.float64]
    macro: NDArray[np.float64]
    by_group: NDArray[np.float64]


def grouped_accuracies(sums_R2G: NDArray[np.float64]) -> Accuracies:
    """Accuracies from sums of `grouped_columns`, shape (R, 2G)."""
    right_RG, asked_RG = np.split(sums_R2G, 2, axis=1)
    with np.errstate(invalid="ignore"):  # 0 / 0: no question
        group_RG = right_RG / asked_RG
        micro_R = right_RG.sum(axis=1) / asked_RG.sum(axis=1)
        macro_R = np.nan_to_num(group_RG).sum(axis=1) / (asked_RG > 0).sum(axis=1)
    return Accuracies(micro_R, macro_R, group_RG)


def confusion_matrix(truth_N: ArrayLike, answer_N: ArrayLike, num_classes: int) -> NDArray[np.int64]:
    """Counts [C, C + 1]: rows are true classes, columns answers; the last column names no class.

    Args:
        truth_N: class indices.
        answer_N: class indices; -1 for an answer that names no class.
        num_classes: C.
    """
    matrix = np.zeros((num_classes, num_classes + 1), np.int64)
    np.add.at(matrix, (np.asarray(truth_N, np.int64), np.asarray(answer_N, np.int64)), 1)
    return matrix
