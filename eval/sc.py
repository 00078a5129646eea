"""Scene classification: the question lists the classes, the answer is one of them.

An answer that is not in the list is wrong. By default it must name the class and nothing else (spelling of
blanks, case and punctuation aside). ``--match lcs`` is LHRS-Bot's forgiving rule, which the paper most likely
used: the class with the longest common substring; it turns every answer with a letter into a class, and
favours long names. LHRS-Bot reports balanced accuracy, so that comes first under its rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eval.metrics.answers import closest_name, name_key
from eval.metrics.classification import confusion_matrix, grouped_accuracies, grouped_columns
from eval.predictions import Prediction
from eval.preview import Tile, choose
from eval.tasks import Answerer, Choices, Measure, Switch, Yardsticks
from eval.text_baselines import most_frequent
from rsunivlm.data.records import Record, resolve_image

if TYPE_CHECKING:
    from eval.benchmarks import Questions
    from rsunivlm.inference.answer import Answer

SWITCHES = (Switch("match", "which class an answer names, see eval/sc.py", "exact", "lcs", ("exact", "lcs")),)
FREQUENT, RANDOM = "most_frequent_class", "random_class"
_SEED = 0


def max_new_tokens(answerer: Answerer) -> int:
    """Class names have up to four words."""
    return 32


def check(record: Record) -> None:
    """Raise ValueError where a record does not say its class and the classes to choose from."""
    targets = record.targets
    if not isinstance(targets, dict) or len(record.turns) != 1:
        raise ValueError(f"record {record.id}: evaluation needs one question with its class under 'targets'")
    label, classes = targets.get("label"), targets.get("classes")
    names: list[Any] = classes if isinstance(classes, list) else []
    if len(names) < 2 or not all(isinstance(name, str) and name_key(name) for name in names):
        raise ValueError(
            f"record {record.id}: 'targets' needs 'classes', a list of names to choose from, got {classes!r}"
        )
    if len({name_key(name) for name in names}) < len(names):
        raise ValueError(f"record {record.id}: two names in 'classes' mean the same class: {classes}")
    if label not in names:
        raise ValueError(f"record {record.id}: 'label' {label!r} is not one of 'classes'")


def truth(record: Record, root: Path) -> dict[str, Any]:
    """The class, and those to choose from."""
    assert isinstance(record.targets, dict)  # `check` has seen the record
    return {"label": record.targets["label"], "classes": list(record.targets["classes"])}


def parsed(answer: Answer) -> dict[str, Any]:
    """The answer's text; which class it names depends on the protocol."""
    return {"text": answer.text}


def readable(parsed: Mapping[str, Any]) -> bool:
    """Whether the answer says anything; how many name no class stands in the details."""
    return bool(parsed["text"].strip())


def yardsticks(questions: Questions, answerer: Answerer) -> Yardsticks:
    """The most frequent class for every image, and a class drawn for each."""
    truths = [truth(record, questions.root) for record in questions.records]
    if questions.fit_records:
        frequent = most_frequent(truth(record, questions.root)["label"] for record in questions.fit_records)
        source = f"of split {questions.fit_split}"
    else:
        # Counted without the image it is tried on, it would be wrong every time where all classes have
        # equally many images.
        frequent = most_frequent(each["label"] for each in truths)
        source = "of this split, for want of a training split: no constant answer scores more"
    rng = np.random.default_rng(_SEED)
    drawn = [each["classes"][rng.integers(len(each["classes"]))] for each in truths]
    return Yardsticks(
        {FREQUENT: [{"text": frequent}] * len(truths), RANDOM: [{"text": name} for name in drawn]},
        {
            FREQUENT: f"the class with the most images {source}: {frequent!r}",
            RANDOM: f"one of the listed classes, drawn evenly with seed {_SEED}",
        },
    )


def select(predictions: Sequence[Prediction], protocol: Choices) -> list[Prediction]:
    """All questions."""
    return list(predictions)


def measure(predictions: Sequence[Prediction], protocol: Choices) -> Measure:
    """Accuracy and balanced accuracy; the rule decides which one comes first.

    Statistics: right answers by class, questions by class.
    """
    number = {name: index for index, name in enumerate(_classes(predictions))}
    truth_N = np.array([number[row.truth["label"]] for row in predictions])

    def columns(answers: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
        return grouped_columns(_right(predictions, answers, protocol["match"]), truth_N, len(number))

    def finish(sums_RS: NDArray[np.float64]) -> NDArray[np.float64]:
        found = grouped_accuracies(sums_RS)
        by_name = {"accuracy": found.micro, "balanced_accuracy": found.macro}
        return np.stack([by_name[name] for name in names], axis=1)

    names = ("accuracy", "balanced_accuracy")
    if protocol["match"] == "lcs":
        names = names[::-1]
    return Measure(names, columns, finish)


def per_question(predictions: Sequence[Prediction], protocol: Choices) -> list[dict[str, float]]:
    """1 for a right answer."""
    right_N = _right(predictions, [row.parsed for row in predictions], protocol["match"])
    return [{"right": float(right)} for right in right_N]


def details(predictions: Sequence[Prediction], protocol: Choices) -> dict[str, Any]:
    """Counts per class and the confusion matrix, whose last column is of answers that name no class."""
    classes = _classes(predictions)
    number = {name: index for index, name in enumerate(classes)}
    named = [named_class(row.parsed["text"], row.truth["classes"], protocol["match"]) for row in predictions]
    matrix = confusion_matrix(
        [number[row.truth["label"]] for row in predictions],
        [-1 if name is None else number[name] for name in named],
        len(classes),
    )
    asked_C, right_C = matrix.sum(axis=1), matrix.diagonal()
    return {
        "named_no_class": int(matrix[:, -1].sum()),
        "classes": {
            name: {"images": int(asked), "right": int(right)}
            for name, asked, right in zip(classes, asked_C, right_C, strict=True)
        },
        "confusion": {"rows": "true class", "columns": [*classes, "no class"], "counts": matrix.tolist()},
        "classes_in_question": list(predictions[0].truth["classes"]),
    }


def tiles(predictions: Sequence[Prediction], root: Path, *, seed: int = 0) -> list[Tile]:
    """Wrong, right and random samples."""
    scored = [row for row in predictions if row.score]
    shown = []
    for index, reason in choose(np.array([row.score["right"] for row in scored]), seed=seed):
        row = scored[index]
        heading = f"{reason}  {'right' if row.score['right'] else 'wrong'}"
        caption = f"answer: {row.answer.strip() or '(nothing)'} / truth: {row.truth['label']}"
        shown.append(Tile(resolve_image(root, row.images[0]), [], [], heading, caption))
    return shown


def named_class(text: str, classes: Sequence[str], rule: str) -> str | None:
    """The class an answer names under a rule (``exact`` or ``lcs``); None when it names none."""
    return _named_class(text, tuple(classes), rule)


@lru_cache(maxsize=1 << 14)  # a benchmark's answers are few different ones
def _named_class(text: str, classes: tuple[str, ...], rule: str) -> str | None:
    key = name_key(text)
    for name in classes:
        if name_key(name) == key:
            return name
    if rule == "exact":
        return None
    index = closest_name(text, classes)
    return None if index is None else classes[index]


def _right(
    predictions: Sequence[Prediction], answers: Sequence[Mapping[str, Any]], rule: str
) -> NDArray[np.bool_]:
    return np.array(
        [
            named_class(answer["text"], row.truth["classes"], rule) == row.truth["label"]
            for row, answer in zip(predictions, answers, strict=True)
        ]
    )


def _classes(predictions: Sequence[Prediction]) -> list[str]:
    """All classes of the questions, in the order they are listed there."""
    return list(dict.fromkeys(name for row in predictions for name in row.truth["classes"]))
