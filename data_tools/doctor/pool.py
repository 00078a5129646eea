"""Work on a stream of jobs in several processes, with the results in order and few jobs in flight."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

# Jobs handed out ahead of the one waited for, per worker; bounds what is held in memory.
_AHEAD = 3


def in_order(function: Callable[[Job], Result], jobs: Iterable[Job], workers: int) -> Iterator[Result]:
    """Yield ``function(job)`` for every job, in order.

    Args:
        function: module-level, for worker processes.
        jobs: taken as they are needed.
        workers: processes; 1 works in this one.
    """
    if workers == 1:
        yield from map(function, jobs)
        return
    # forkserver: a child must not inherit a half-locked thread of a progress bar.
    with ProcessPoolExecutor(workers, mp_context=get_context("forkserver")) as pool:
        flying: deque[Future[Result]] = deque()
        for job in jobs:
            flying.append(pool.submit(function, job))
            if len(flying) >= workers * _AHEAD:
                yield flying.popleft().result()
        while flying:
            yield flying.popleft().result()
