"""Visual question answering: a short answer, right or wrong.

The first number is the mean over question types (the average that the papers print), then the accuracy over
all questions, then that of each type. Counting and area questions are left out unless asked for, as in the
paper and its peers. What counts as right is a named rule (`eval.metrics.answers`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eval.metrics.answers import ANSWER_RULES, is_right, normalise
from eval.metrics.classification import grouped_accuracies, grouped_columns
from eval.predictions import Prediction
from eval.preview import Tile, choose
from eval.tasks import Answerer, Choices, Measure, Switch, Yardsticks
from eval.text_baselines import most_frequent, most_frequent_by_group, most_frequent_elsewhere
from rsunivlm.data.records import Record, resolve_image

if TYPE_CHECKING:
    from eval.benchmarks import Questions
    from rsunivlm.inference.answer import Answer

SWITCHES = (
    Switch("match", "when an answer is right, see eval/metrics/answers.py", "exact", "lhrs", ANSWER_RULES),
    Switch("counts", "score counting and area questions too", False, False),
    Switch("empty_is_right", "under --match lhrs, as LHRS-Bot's scorer has it (a flaw)", False, False),
)
COUNTING = frozenset({"count", "area"})
UNTYPED = "untyped"
FREQUENT = "most_frequent_answer"


def max_new_tokens(answerer: Answerer) -> int:
    """Answers are a few words; LHRS-Bot allows the same."""
    return 50


def check(record: Record) -> None:
    """Raise ValueError where a record is no question with its answer."""
    targets = record.targets
    if not isinstance(targets, dict) or len(record.turns) != 1:
        raise ValueError(f"record {record.id}: evaluation needs one question with its answer under 'targets'")
    known = [targets.get("answer"), *_list(targets.get("answers", []))]
    if not all(isinstance(answer, str) and normalise(answer) for answer in known):
        raise ValueError(
            f"record {record.id}: 'targets' needs 'answer', a text (and may list equally right ones in "
            f"'answers'), got {targets}"
        )
    if not isinstance(targets.get("type", ""), str):
        raise ValueError(f"record {record.id}: 'type' of the question must be text, got {targets['type']!r}")


def truth(record: Record, root: Path) -> dict[str, Any]:
    """The answer, the type of the question, and other right answers where there are some."""
    assert isinstance(record.targets, dict)  # `check` has seen the record
    answers = {"answers": list(record.targets["answers"])} if "answers" in record.targets else {}
    return {"answer": record.targets["answer"], "type": record.targets.get("type") or UNTYPED} | answers


def parsed(answer: Answer) -> dict[str, Any]:
    """The answer's text; it is normalised when it is scored."""
    return {"text": answer.text}


def readable(parsed: Mapping[str, Any]) -> bool:
    """Whether anything is left of the answer once it is normalised."""
    return bool(normalise(parsed["text"]))


def yardsticks(questions: Questions, answerer: Answerer) -> Yardsticks:
    """The most frequent answer to questions of each type."""
    types, answers = _types_and_answers(questions.records)
    found: list[str] | None
    if questions.fit_records:
        fit_types, fit_answers = _types_and_answers(questions.fit_records)
        by_type = most_frequent_by_group(fit_types, fit_answers)
        overall = most_frequent(fit_answers)
        found = [by_type.get(kind, overall) for kind in types]
        source = f"in split {questions.fit_split}; of types that are not there, to all questions"
    else:
        found = most_frequent_elsewhere(types, answers, [record.images for record in questions.records])
        source = "about all other images, for want of a training split"
    if found is None:
        return Yardsticks({}, {})
    definition = f"the most frequent answer to questions of the type {source}"
    return Yardsticks({FREQUENT: [{"text": text} for text in found]}, {FREQUENT: definition})


def select(predictions: Sequence[Prediction], protocol: Choices) -> list[Prediction]:
    """All questions, or all but counting and area questions."""
    return [row for row in predictions if protocol["counts"] or row.truth["type"] not in COUNTING]


def measure(predictions: Sequence[Prediction], protocol: Choices) -> Measure:
    """Mean over types, accuracy over all questions, accuracy of each type.

    Statistics: right answers by type, questions by type.
    """
    types = sorted({row.truth["type"] for row in predictions})
    number = {kind: index for index, kind in enumerate(types)}
    type_N = np.array([number[row.truth["type"]] for row in predictions])

    def columns(answers: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
        return grouped_columns(_right(predictions, answers, protocol), type_N, len(types))

    def finish(sums_RS: NDArray[np.float64]) -> NDArray[np.float64]:
        found = grouped_accuracies(sums_RS)
        return np.concatenate([found.macro[:, None], found.micro[:, None], found.by_group], axis=1)

    return Measure(("macro_accuracy", "micro_accuracy", *types), columns, finish)


def per_question(predictions: Sequence[Prediction], protocol: Choices) -> list[dict[str, float]]:
    """1 for a right answer."""
    right_N = _right(predictions, [row.parsed for row in predictions], protocol)
    return [{"right": float(right)} for right in right_N]


def details(predictions: Sequence[Prediction], protocol: Choices) -> dict[str, Any]:
    """Right answers and questions of each type, and what the model answered most often."""
    right_N = _right(predictions, [row.parsed for row in predictions], protocol)
    asked = Counter(row.truth["type"] for row in predictions)
    right = Counter(row.truth["type"] for row, hit in zip(predictions, right_N, strict=True) if hit)
    given = Counter(normalise(row.parsed["text"]) for row in predictions)
    return {
        "types": {kind: {"questions": asked[kind], "right": right[kind]} for kind in sorted(asked)},
        "most_frequent_answers": dict(given.most_common(10)),
        "normalisation": "lower case, no punctuation, no articles, zero to ten as digits",
    }


def tiles(predictions: Sequence[Prediction], root: Path, *, seed: int = 0) -> list[Tile]:
    """Wrong, right and random samples."""
    scored = [row for row in predictions if row.score]
    shown = []
    for index, reason in choose(np.array([row.score["right"] for row in scored]), seed=seed):
        row = scored[index]
        heading = f"{reason}  {'right' if row.score['right'] else 'wrong'}"
        answer = row.answer.strip() or "(nothing)"
        caption = f"{row.prompt} / answer: {answer} / truth: {row.truth['answer']}"
        shown.append(Tile(resolve_image(root, row.images[0]), [], [], heading, caption))
    return shown


def _right(
    predictions: Sequence[Prediction], answers: Sequence[Mapping[str, Any]], protocol: Choices
) -> NDArray[np.bool_]:
    rule, lenient = protocol["match"], protocol["empty_is_right"]
    return np.array(
        [
            is_right(answer["text"], _known(row.truth), rule, lenient)
            for row, answer in zip(predictions, answers, strict=True)
        ],
        bool,
    )


def _known(truth: Mapping[str, Any]) -> tuple[str, ...]:
    """All right answers to a question."""
    return (truth["answer"], *truth.get("answers", ()))


def _types_and_answers(records: Sequence[Record]) -> tuple[list[str], list[str]]:
    truths = [truth(record, Path()) for record in records]
    # Normalised, so that spellings of one answer are counted together.
    return [each["type"] for each in truths], [normalise(each["answer"]) for each in truths]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
