"""The tasks that can be scored, and what a task module has to offer.

`run_benchmark.py` knows no task: it asks the module named here. Each is a plain module with the functions of
`TaskModule`; a new task is one new module and one line in `TASK_MODULES`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, cast

from rsunivlm.tasks import Task, parse_task

if TYPE_CHECKING:  # only named in signatures; importing them would cost torch or be circular
    from eval.benchmarks import Questions
    from eval.predictions import Prediction
    from eval.preview import Tile
    from eval.report import Row
    from rsunivlm import RSUniVLM
    from rsunivlm.data.records import Record
    from rsunivlm.inference.answer import Answer

TASK_MODULES = MappingProxyType({Task.VG: "eval.vg"})


@dataclass(frozen=True)
class Yardsticks:
    """Answers that need no model, which a score is read against.

    Attributes:
        answers: Per name, one answer per question, in the form of `Prediction.parsed`.
        definitions: Per name, what it is and what it was fitted on; goes into the results.
    """

    answers: Mapping[str, Sequence[Mapping[str, Any]]]
    definitions: Mapping[str, str]


class TaskModule(Protocol):
    """The functions a task module defines. Scores depend on predictions only, never on a model."""

    MAX_NEW_TOKENS: int  # room for the longest sensible answer
    SCORE_OPTIONS: tuple[str, ...]  # names of command-line options handed to `score`

    def check(self, record: Record) -> None:
        """Raise ValueError, naming the record, where its targets do not serve this task."""

    def truth(self, record: Record) -> dict[str, Any]:
        """The ground truth as it goes into the predictions file."""

    def parsed(self, answer: Answer) -> dict[str, Any]:
        """The decoded answer in the form of `truth`."""

    def yardsticks(self, questions: Questions, predictor: RSUniVLM) -> Yardsticks:
        """Ceiling of the checkpoint's codec, and baselines, for all questions of a benchmark."""

    def per_question(self, predictions: Sequence[Prediction], **options: Any) -> list[dict[str, float]]:
        """The scores of each question alone."""

    def score(self, predictions: Sequence[Prediction], *, seed: int, **options: Any) -> dict[str, Any]:
        """All scores with their intervals, as JSON."""

    def table(self, results: Mapping[str, Any]) -> tuple[list[str], list[Row]]:
        """Columns and rows of the terminal table."""

    def headline(self, results: Mapping[str, Any]) -> dict[str, Any]:
        """The few numbers of the last line on stdout."""

    def tiles(self, predictions: Sequence[Prediction], root: Path, *, seed: int) -> list[Tile]:
        """Samples for the picture; reads `Prediction.score`."""


def task_module(name: str) -> tuple[Task, TaskModule]:
    """Import the module of a task given by name or token.

    Raises:
        ValueError: There is no such task, or it has no benchmark; the message lists those that have.
    """
    task = parse_task(name)
    if task not in TASK_MODULES:
        raise ValueError(f"task {task} cannot be scored yet; available: {', '.join(TASK_MODULES)}")
    return task, cast(TaskModule, importlib.import_module(TASK_MODULES[task]))
