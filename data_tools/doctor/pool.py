"""Work on streams of jobs in several processes, with the results in order and few jobs in flight."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from types import TracebackType
from typing import Self, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

# Jobs handed out ahead of the one waited for, per worker; bounds what is held in memory.
_AHEAD = 3


class Workers:
    """Processes that live as long as the ``with`` block; one worker is this process itself."""

    def __init__(self, count: int) -> None:
        self._ahead = count * _AHEAD
        # forkserver: a child must not inherit a half-locked thread of a progress bar.
        context = get_context("forkserver")
        self._pool = ProcessPoolExecutor(count, mp_context=context) if count > 1 else None

    def __enter__(self) -> Self:
        """Nothing is started before the first job."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for the jobs at work; drop those that are not begun."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def in_order(self, function: Callable[[Job], Result], jobs: Iterable[Job]) -> Iterator[Result]:
        """Yield ``function(job)`` for every job, in order.

        Args:
            function: module-level, for worker processes.
            jobs: taken as they are needed.
        """
        if self._pool is None:
            yield from map(function, jobs)
            return
        flying: deque[Future[Result]] = deque()
        for job in jobs:
            flying.append(self._pool.submit(function, job))
            if len(flying) >= self._ahead:
                yield flying.popleft().result()
        while flying:
            yield flying.popleft().result()
