"""The tasks that can be scored, and what a task module has to offer.

Nothing else in `eval` knows a task: `run_benchmark.py`, `rescore.py` and `compare.py` ask the module named
here. Each is a plain module with the functions of `TaskModule`; a new task is one new module and one line in
`TASK_MODULES`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from rsunivlm.tasks import Task, parse_task

if TYPE_CHECKING:  # only named in signatures; importing them would cost torch or be circular
    from eval.benchmarks import Questions
    from eval.predictions import Prediction
    from eval.preview import Tile
    from rsunivlm.codecs import BoxCodec, MaskCodec
    from rsunivlm.data.records import Record
    from rsunivlm.inference.answer import Answer, Request

TASK_MODULES = MappingProxyType(
    {
        Task.SC: "eval.sc",
        Task.VQA: "eval.vqa",
        Task.CAP: "eval.cap",
        Task.VG: "eval.vg",
        Task.REG: "eval.reg",
        Task.SS: "eval.ss",
        Task.CC: "eval.cc",
        Task.CD: "eval.cd",
    }
)

Choices = Mapping[str, Any]  # value of every switch of a protocol, by name, and the name of the protocol


@dataclass(frozen=True)
class Switch:
    """One choice of a scoring protocol; becomes a command-line option.

    Attributes:
        name: its name in results; on the command line with dashes.
        help: what it decides.
        strict: its value under ``--protocol strict``, the default.
        paper: its value under ``--protocol paper``: what fits the published numbers best.
        choices: the values it can take; empty for a yes-or-no switch. Tasks may share a name and differ here.
    """

    name: str
    help: str
    strict: Any
    paper: Any
    choices: tuple[str, ...] = ()

    def takes(self, value: Any) -> bool:
        """Whether it can have this value."""
        return not self.choices or value in self.choices


@dataclass(frozen=True)
class Yardsticks:
    """Answers that need no model, which a score is read against.

    Attributes:
        answers: per name, one answer per question, in the form of `Prediction.parsed`.
        definitions: per name, what it is and what it was fitted on; goes into the results.
    """

    answers: Mapping[str, Sequence[Mapping[str, Any]]]
    definitions: Mapping[str, str]


@dataclass(frozen=True)
class Measure:
    """The metrics of a set of questions, as functions of sums (see `eval.metrics.intervals`).

    Attributes:
        names: of the metrics, in the order of the table; the first is the one people quote.
        columns: one answer per question -> statistics [N, S] that may be summed over questions.
        finish: sums [R, S] -> metrics [R, K]; NaN where a metric is undefined.
    """

    names: tuple[str, ...]
    columns: Callable[[Sequence[Mapping[str, Any]]], NDArray[np.float64]]
    finish: Callable[[NDArray[np.float64]], NDArray[np.float64]]


class Answerer(Protocol):
    """A model that answers requests: ours, or another behind the same face (see `eval.models`)."""

    tasks: tuple[Task, ...]
    box_codec: BoxCodec
    mask_codec: MaskCodec

    def answer_batch(
        self, requests: Sequence[Request], *, batch_size: int, max_new_tokens: int
    ) -> list[Answer]:
        """Answers in the order of the requests."""

    def describe(self) -> dict[str, Any]:
        """What the results say about the model: at least ``id``, and a hash that tells versions apart."""


class TaskModule(Protocol):
    """The functions a task module defines. Scores depend on predictions only, never on a model."""

    SWITCHES: tuple[Switch, ...]

    def max_new_tokens(self, answerer: Answerer) -> int:
        """Room for the longest sensible answer."""

    def check(self, record: Record) -> None:
        """Raise ValueError, naming the record, where its targets do not serve this task."""

    def truth(self, record: Record, root: Path) -> dict[str, Any]:
        """The ground truth as it goes into the predictions file; `root` is the image root."""

    def parsed(self, answer: Answer) -> dict[str, Any]:
        """The decoded answer, in the form that `Measure.columns` takes."""

    def readable(self, parsed: Mapping[str, Any]) -> bool:
        """Whether anything could be read; what could not is counted, and scored as wrong."""

    def yardsticks(self, questions: Questions, answerer: Answerer) -> Yardsticks:
        """Ceiling of the answerer's codec where there is one, and baselines, for all questions."""

    def select(self, predictions: Sequence[Prediction], protocol: Choices) -> list[Prediction]:
        """The questions that the protocol scores (e.g. without counting questions)."""

    def measure(self, predictions: Sequence[Prediction], protocol: Choices) -> Measure:
        """The metrics of these questions; answers given to `columns` stand in the same order."""

    def per_question(self, predictions: Sequence[Prediction], protocol: Choices) -> list[dict[str, float]]:
        """Scores of each question alone; the first one sorts the samples that are shown."""

    def details(self, predictions: Sequence[Prediction], protocol: Choices) -> dict[str, Any]:
        """More that belongs into results and report: counts, confusion matrix, rules in words."""

    def tiles(self, predictions: Sequence[Prediction], root: Path, *, seed: int) -> list[Tile]:
        """Samples for the picture; reads `Prediction.score`."""


def task_module(name: str) -> tuple[Task, TaskModule]:
    """Import the module of a task given by name or token.

    Raises:
        ValueError: There is no such task; the message lists those there are.
    """
    task = parse_task(name)
    return task, cast(TaskModule, importlib.import_module(TASK_MODULES[task]))


def protocol_of(module: TaskModule, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The value of every switch of a task: as given, else as the named protocol has it.

    Args:
        module: of the task.
        name: ``strict`` or ``paper``.
        given: switches named on the command line.

    Raises:
        ValueError: a given switch, or its value, does not apply to the task.
    """
    known = {switch.name: switch for switch in module.SWITCHES}
    for key, value in given.items():
        option = f"--{key.replace('_', '-')}"
        if key not in known:
            names = ", ".join(f"--{other.replace('_', '-')}" for other in known) or "none"
            raise ValueError(f"{option} does not apply to this task; its switches: {names}")
        if not known[key].takes(value):
            raise ValueError(f"{option} {value} does not apply to this task; use {known[key].choices}")
    chosen = {key: getattr(switch, name) for key, switch in known.items()} | dict(given)
    return {"name": name, **chosen}
