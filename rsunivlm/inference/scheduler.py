"""Decodes many questions at once: rows join and leave the batch between two passes.

Each pass gives every row the tokens it has not computed yet: the rest of a prompt at first, one token later,
or more where more are known. Under a grammar they often are. A token that is the only one allowed costs no
pass. And the next row of a mask mostly resembles the one before: it is drafted, computed in one pass with the
token before it, and kept as far as the model would have written the same (speculative decoding as of
Leviathan, Kalman and Matias, 2023, for greedy decoding, with the grammar as the drafter). What comes out is
greedy decoding under the grammar, token for token.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from rsunivlm.codecs.automaton import State
from rsunivlm.inference.answer import DecodingReport
from rsunivlm.inference.constraints import Constraint
from rsunivlm.inference.preparation import Prompt

if TYPE_CHECKING:
    from rsunivlm.inference.runner import ModelRunner  # imports transformers


@dataclass(frozen=True)
class Decoding:
    """How answers are decoded.

    Attributes:
        constrain: Hold masks, boxes and closed lists to their grammar. Without it an answer is free text, and
            the reader makes of it what it can.
        jump: Write tokens that the grammar leaves no choice about without a pass each.
        drafts: Draft the coming rows of a mask.
        draft_tokens: Most tokens of a draft. How many are drafted follows what was right last time: twice as
            many if all were, else a few more than were.
        soft_masks: Note how sure the decoder was, and draw the edges of masks by it (see
            `rsunivlm.inference.soft_labels`). The text is the same.
        count_changes: Count how often the grammar kept the model from its first choice. Takes the scores of
            all tokens at every step, hence one pass a token: `jump` and `drafts` are off then.
    """

    constrain: bool = True
    jump: bool = True
    drafts: bool = True
    draft_tokens: int = 48
    soft_masks: bool = False
    count_changes: bool = False


DEFAULT_DECODING = Decoding()
FIRST_DRAFT = 12  # tokens
BEYOND = 4  # tokens that are drafted beyond those that were right last time


@dataclass(frozen=True)
class Feed:
    """New tokens of a row.

    Attributes:
        slot: The row's slot in the cache.
        start: Position of the first of the tokens.
        tokens: Token ids.
        expert: Of the row.
        images: Images whose placeholders are among the tokens, in order.
    """

    slot: int
    start: int
    tokens: Sequence[int]
    expert: int
    images: Sequence[Hashable] = ()


@dataclass(eq=False)
class Job:
    """One question on its way.

    Attributes:
        prompt: What is asked.
        constraint: Grammar of the answer; None for free text.
        limit: Most tokens of the answer.
        end_token: Ends the answer.
        keep: Keep what was computed, for a next turn.
        on_tokens: Called after every pass with the answer's tokens so far, and whether these are all.
        tokens: The answer's tokens, without the end token.
        finished: The answer has come to its end; else it was cut at a limit.
        choices: Where a mask left a choice, the probability of each allowed token, by place in the answer;
            only where soft masks are wanted.
        size: (width, height) of the image asked about; of a pair, the second one.
        error: Why there is no answer.
        report: What decoding did.
    """

    prompt: Prompt
    constraint: Constraint | None
    limit: int
    end_token: int
    keep: bool = False
    on_tokens: Callable[[list[int], bool], None] | None = None
    tokens: list[int] = field(default_factory=list)
    finished: bool = False
    choices: dict[int, dict[int, float]] | None = None
    size: tuple[int, int] = (0, 0)
    error: ValueError | None = None
    report: DecodingReport | None = None


class Scheduler:
    """The running batch and the questions that wait for it."""

    def __init__(self, runner: ModelRunner, decoding: Decoding, slots: int) -> None:
        self.runner = runner
        self.decoding = decoding
        self.waiting: deque[Job] = deque()
        self._rows: list[_Row] = []
        self._free = list(range(slots))

    @property
    def busy(self) -> bool:
        """Whether anything is left to do."""
        return bool(self._rows or self.waiting)

    @torch.inference_mode()
    def step(self) -> list[Job]:
        """Let waiting questions in, run one pass, and return the questions that are done."""
        done = self._admit()
        if any(not row.over for row in self._rows):
            self._advance([row for row in self._rows if not row.over])
        for row in list(self._rows):
            if row.job.on_tokens is not None:
                row.job.on_tokens(row.job.tokens, row.over)
            if row.over:
                self._leave(row)
                done.append(row.job)
        return done

    def drop(self, job: Job) -> None:
        """Let a question go that waits or is being answered; its slot is free for the next one."""
        row = next((row for row in self._rows if row.job is job), None)
        if row is None:
            self.waiting.remove(job)
        else:
            self._leave(row)

    def _admit(self) -> list[Job]:
        """Fill the free slots; returns the questions whose images cannot be read."""
        failed: list[Job] = []
        new: list[_Row] = []
        while self.waiting and self._free:
            jobs = [self.waiting.popleft() for _ in range(min(len(self._free), len(self.waiting)))]
            shown = [
                pair
                for job in jobs
                for pair in zip(job.prompt.images, job.prompt.request.images, strict=True)
            ]
            mistakes = self.runner.see(shown)
            for job in jobs:
                job.error = next((mistakes[key] for key in job.prompt.images if key in mistakes), None)
                if job.error is not None:
                    failed.append(job)
                    continue
                job.size = self.runner.images[job.prompt.images[-1]][1]
                new.append(_Row(job, self._free.pop(), self.decoding))
        if new:
            self._begin(new)
            self._rows += new
            # Sorted by expert, so that each one's tokens are one slice of a pass.
            self._rows.sort(key=lambda row: row.expert)
            self.runner.forget_images(len({key for row in new for key in row.job.prompt.images}))
        return failed

    def _begin(self, new: Sequence[_Row]) -> None:
        """Give new rows the keys and values of their prompts' beginnings; one row of many computes them."""
        self.runner.cache.reserve(max(len(row.ids) for row in new))
        prefixes = self.runner.prefixes
        first: dict[tuple[object, int], _Row] = {}
        late: list[_Row] = []
        for row in new:
            prompt = row.job.prompt
            pairs = prefixes.find(prompt.images, row.expert, prompt.input_ids)
            if pairs is not None:
                self.runner.cache.write(row.slot, pairs)
                row.computed = pairs.shape[3]
            elif (prompt.images, row.expert) in first:
                late.append(row)
            else:
                first[prompt.images, row.expert] = row
        if not first:
            return
        rows = sorted(first.values(), key=lambda row: row.expert)
        self.runner.run([row.beginning() for row in rows], [])
        for row in rows:
            prompt = row.job.prompt
            row.computed = prompt.shared
            pairs = self.runner.cache.read(row.slot, prompt.shared)
            prefixes.add(prompt.images, row.expert, prompt.input_ids[: prompt.shared], pairs)
            for other in late:
                if (other.job.prompt.images, other.expert) == (prompt.images, row.expert):
                    self.runner.cache.write(other.slot, pairs)
                    other.computed = prompt.shared

    def _advance(self, rows: Sequence[_Row]) -> None:
        """One pass, and what follows from it."""
        feeds = [row.feed() for row in rows]
        places: list[tuple[int, int]] = []
        owners: list[tuple[_Row, int]] = []
        for index, row in enumerate(rows):
            for step, offset in row.choices():
                places.append((index, offset))
                owners.append((row, step))
        hidden_MD = self.runner.run(feeds, places)
        free = [
            m for m, (row, _) in enumerate(owners) if row.constraint is None or self.decoding.count_changes
        ]
        found = dict(zip(free, self.runner.best_tokens(hidden_MD[free]), strict=True))
        by_grammar: dict[int, list[int]] = {}
        for m, (row, _) in enumerate(owners):
            if row.constraint is not None:
                by_grammar.setdefault(id(row.constraint.vocabulary), []).append(m)
        scores: dict[int, np.ndarray] = {}
        for chosen in by_grammar.values():
            constraint = owners[chosen[0]][0].constraint
            assert constraint is not None  # by_grammar has rows with one only
            scores |= zip(chosen, self.runner.scores(hidden_MD[chosen], constraint.vocabulary), strict=True)
        results: dict[_Row, dict[int, tuple[int | None, np.ndarray | None]]] = {row: {} for row in rows}
        for m, (row, step) in enumerate(owners):
            results[row][step] = found.get(m), scores.get(m)
        for row, chosen_steps in results.items():
            row.take(chosen_steps)

    def _leave(self, row: _Row) -> None:
        self._rows.remove(row)
        self._free.append(row.slot)
        if row.job.keep:
            ids = tuple(row.ids[: row.computed])
            pairs = self.runner.cache.read(row.slot, row.computed)
            self.runner.prefixes.add(row.job.prompt.images, row.expert, ids, pairs)


class _Row:
    """A question in the batch."""

    def __init__(self, job: Job, slot: int, decoding: Decoding) -> None:
        self.job, self.slot = job, slot
        self.expert = job.prompt.expert
        self.ids = list(job.prompt.input_ids)
        self.computed = 0  # positions whose keys and values are in the cache
        self.constraint = job.constraint
        self.over = False
        self._plain = decoding.count_changes
        self._jump = decoding.jump and not self._plain
        self._most_drafted = decoding.draft_tokens if decoding.drafts and not self._plain else 0
        self._reach = FIRST_DRAFT
        self._state: State = job.constraint.start if job.constraint else frozenset()
        self._draft: tuple[int, ...] = ()
        self._states = [self._state]  # before each token of the draft, and behind it
        seconds = job.prompt.request.max_seconds
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._passes = self._forced = self._drafted = self._accepted = self._changed = 0
        self._jump_ahead()

    def beginning(self) -> Feed:
        """The shared part of the prompt."""
        prompt = self.job.prompt
        return Feed(self.slot, 0, prompt.input_ids[: prompt.shared], self.expert, prompt.images)

    def feed(self) -> Feed:
        """What the row has not computed yet, and a draft of what follows."""
        self._passes += 1
        self._draft = ()
        self._states = [self._state]
        if self.constraint is not None and self._most_drafted:
            self._draft = self.constraint.draft(self.job.tokens, min(self._reach, self._most_drafted))
            for token in self._draft:
                self._states.append(self.constraint.step(self._states[-1], token))
            self._drafted += len(self._draft)
        return Feed(self.slot, self.computed, [*self.ids[self.computed :], *self._draft], self.expert)

    def choices(self) -> list[tuple[int, int]]:
        """Steps that need scores: the tokens of the draft and the one behind it, and where in the feed."""
        known = len(self.ids) - self.computed
        if self.constraint is None or self._plain:
            return [(0, known - 1)]
        steps = range(len(self._draft) + 1)
        return [(s, known - 1 + s) for s in steps if len(self.constraint.allowed(self._states[s])) > 1]

    def take(self, results: dict[int, tuple[int | None, np.ndarray | None]]) -> None:
        """Go on with what the pass has found, as far as the draft was right and one token beyond."""
        before = len(self.ids)
        accepted = 0
        for step in range(len(self._draft) + 1):
            token = self._choose(step, results)
            self._write(token)
            if self.over or step == len(self._draft) or token != self._draft[step]:
                break
            accepted += 1
        self._accepted += accepted
        if self._draft:
            self._reach = 2 * accepted if accepted == len(self._draft) else accepted + BEYOND
        # The end token may be the last of them; it is not part of the row.
        self.computed = min(before + accepted, len(self.ids))
        self._jump_ahead()
        if not self.over and self._deadline is not None and time.monotonic() > self._deadline:
            self._stop(finished=False)

    def _choose(self, step: int, results: dict[int, tuple[int | None, np.ndarray | None]]) -> int:
        best, scores = results.get(step, (None, None))
        if self.constraint is None:
            assert best is not None  # free text asks for it
            return best
        options = self.constraint.allowed(self._state)
        if len(options) == 1:
            token = int(options[0])
        else:
            assert scores is not None  # `choices` asked for them
            allowed = scores[self.constraint.columns(self._state)]
            token = int(options[allowed.argmax()])
            if self.job.choices is not None:
                chances = np.exp(allowed - allowed.max())
                given = zip(options.tolist(), (chances / chances.sum()).tolist(), strict=True)
                self.job.choices[len(self.job.tokens)] = dict(given)
        if best is not None:
            self._changed += token != best
        return token

    def _write(self, token: int) -> None:
        if token == self.job.end_token:
            self._stop(finished=True)
            return
        self.ids.append(token)
        self.job.tokens.append(token)
        if self.constraint is not None:
            self._state = self.constraint.step(self._state, token)
        if len(self.job.tokens) >= self.job.limit:
            self._stop(finished=False)

    def _jump_ahead(self) -> None:
        """Write the tokens that the grammar leaves no choice about."""
        if not self._jump or self.constraint is None or self.over:
            return
        for token in self.constraint.forced(self._state):
            self._forced += 1
            self._write(token)
            if self.over:
                return

    def _stop(self, *, finished: bool) -> None:
        self.over = True
        self.job.finished = finished
        self.job.report = DecodingReport(
            tokens=len(self.job.tokens),
            passes=self._passes,
            forced=self._forced,
            drafted=self._drafted,
            accepted=self._accepted,
            constrained=self.constraint is not None,
            changed=self._changed if self._plain and self.constraint is not None else None,
        )
