"""Change captioning: two images of one place, a sentence about what has changed.

Scores depend strongly on the strings that reach the scorers (`eval.metrics.tokens`), so there are three named
conventions. ``change_agent`` is that of the papers in the field; ``raw`` is the most likely one behind the
paper's Table 5. Half of LEVIR-CC's pairs are unchanged and have the same five sentences as references, so the
overall numbers hide much: changed and unchanged pairs are scored apart too, and it is counted how often the
answer says whether anything has changed at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eval import captioning
from eval.cap import select
from eval.captioning import NUM_STATISTICS, CaptionScorer, parsed, readable
from eval.metrics.tokens import change_agent
from eval.predictions import Prediction
from eval.preview import Tile
from eval.tasks import Answerer, Choices, Measure, Switch, Yardsticks
from rsunivlm.data.records import Record

if TYPE_CHECKING:
    from eval.benchmarks import Questions

__all__ = ["parsed", "readable", "select"]

SWITCHES = (
    Switch(
        "cc_norm",
        "string convention, see eval/metrics/tokens.py",
        "change_agent",
        "raw",
        ("change_agent", "detached", "raw"),
    ),
)
# The five captions of every unchanged pair of LEVIR-CC; an answer says "no change" if it is one of them.
NO_CHANGE = frozenset(
    {
        "the scene is the same as before",
        "there is no difference",
        "the two scenes seem identical",
        "no change has occurred",
        "almost nothing has changed",
    }
)
METRICS = ("cider", *captioning.BLEU, "meteor", "rouge_l")
PART_METRICS = ("cider", "bleu_4", "meteor", "rouge_l")
PARTS = ("changed", "unchanged")
DECISIONS = ("change_accuracy", "no_change_accuracy")


def max_new_tokens(answerer: Answerer) -> int:
    """LEVIR-CC's longest caption has 39 words."""
    return 128


def check(record: Record) -> None:
    """Raise ValueError where a record is no change captioning question with references and the truth."""
    captioning.check(record)
    assert isinstance(record.targets, dict)
    if not isinstance(record.targets.get("changed"), bool):
        raise ValueError(
            f"record {record.id}: 'targets' needs 'changed', true or false, "
            f"got {record.targets.get('changed')!r}"
        )


def truth(record: Record, root: Path) -> dict[str, Any]:
    """The references, and whether anything has changed."""
    assert isinstance(record.targets, dict)  # `check` has seen the record
    return {"references": captioning.references_of(record), "changed": record.targets["changed"]}


def yardsticks(questions: Questions, answerer: Answerer) -> Yardsticks:
    """A constant caption, and the first reference: of changed pairs against the others.

    Of an unchanged pair any of the five sentences is right, and they have few words in common: scored against
    the other four, the right answer would seem to be wrong.
    """
    return captioning.yardsticks_of(questions, lambda record: truth(record, questions.root)["changed"])


def says_no_change(text: str) -> bool:
    """Whether an answer is one of LEVIR-CC's five sentences for unchanged pairs."""
    return change_agent([text])[0] in NO_CHANGE


def measure(predictions: Sequence[Prediction], protocol: Choices) -> Measure:
    """Caption metrics over all pairs and over changed and unchanged ones; how often the decision is right.

    Statistics: those of captions for changed pairs, the same for unchanged pairs, right decisions about each.
    """
    scorer = CaptionScorer(predictions, protocol["cc_norm"])
    changed_N = np.array([row.truth["changed"] for row in predictions], bool)
    part_N2 = np.stack([changed_N, ~changed_N], axis=1)

    def columns(answers: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
        columns_NS = scorer.columns(answers)
        right_N = np.array([_decides_rightly(*pair) for pair in zip(answers, changed_N, strict=True)])
        parts = [columns_NS * part_N2[:, [part]] for part in range(len(PARTS))]
        return np.concatenate([*parts, right_N[:, None] * part_N2], axis=1).astype(np.float64)

    def finish(sums_RS: NDArray[np.float64]) -> NDArray[np.float64]:
        parts = [sums_RS[:, :NUM_STATISTICS], sums_RS[:, NUM_STATISTICS : 2 * NUM_STATISTICS]]
        overall = captioning.metrics(parts[0] + parts[1])
        found = [overall[name] for name in METRICS]
        for sums_RT in parts:
            of_part = captioning.metrics(sums_RT)
            found += [of_part[name] for name in PART_METRICS]
        asked_R2 = np.stack([sums_RT[:, -1] for sums_RT in parts], axis=1)
        with np.errstate(invalid="ignore"):  # 0 / 0: no such pair
            decisions_R2 = sums_RS[:, -2:] / asked_R2
        return np.concatenate([np.stack(found, axis=1), decisions_R2], axis=1)

    names = (*METRICS, *(f"{part}_{name}" for part in PARTS for name in PART_METRICS), *DECISIONS)
    return Measure(names, columns, finish)


def per_question(predictions: Sequence[Prediction], protocol: Choices) -> list[dict[str, float]]:
    """ROUGE-L and CIDEr-D of each answer, and whether it is right that something (nothing) has changed."""
    scores = captioning.scores_of_each(predictions, protocol["cc_norm"])
    return [
        score | {"decision": float(_decides_rightly(row.parsed, row.truth["changed"]))}
        for score, row in zip(scores, predictions, strict=True)
    ]


def details(predictions: Sequence[Prediction], protocol: Choices) -> dict[str, Any]:
    """How captions were compared, and how many pairs are changed."""
    changed = sum(row.truth["changed"] for row in predictions)
    return captioning.rules(predictions, protocol["cc_norm"]) | {
        "pairs": {"changed": changed, "unchanged": len(predictions) - changed},
        "parts": "changed and unchanged pairs with the IDF of all pairs",
        "decision": "an answer says that nothing has changed if it is one of the five sentences of LEVIR-CC",
    }


def tiles(predictions: Sequence[Prediction], root: Path, *, seed: int = 0) -> list[Tile]:
    """Worst, best and random samples, each with its second image."""
    return captioning.sample_tiles(predictions, root, seed=seed)


def _decides_rightly(answer: Mapping[str, Any], changed: bool) -> bool:
    return readable(answer) and says_no_change(answer["text"]) != changed
