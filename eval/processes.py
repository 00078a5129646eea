"""The processes of one run, as a launcher starts them: who is who, and whether all of them got through.

    torchrun --nproc_per_node 4 eval/run_benchmark.py ...

They share the questions and nothing else: answers travel through the journals in the output folder (see
`eval.generation`), which all processes must see. The connection between them (gloo, also on machines without
a GPU) only tells each that the others are done, that one of them failed and why, or that one of them died.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from rich.console import Console

Item = TypeVar("Item")

# One process may have masks of large scenes to answer for days after the others are done. The death of a
# process is noticed at once by its closed connection, not by this limit.
_PATIENCE = timedelta(days=30)


@dataclass(frozen=True)
class Processes:
    """This process among all.

    Attributes:
        rank: its number; process 0 scores and writes.
        world_size: how many there are.
    """

    rank: int = 0
    world_size: int = 1

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """The part of the items that this process takes: a row of neighbours."""
        start, end = (len(items) * number // self.world_size for number in (self.rank, self.rank + 1))
        return items[start:end]

    @contextmanager
    def together(self) -> Iterator[None]:
        """A block that processes leave together: all well, or all with an error if one of them has one.

        What the others still have to do in the block they finish first.

        Raises:
            ValueError: another process failed in the block, with the message of that process, or has died.
        """
        try:
            yield
        except (ValueError, OSError) as error:
            if self.world_size > 1:
                note = f"process {self.rank} stops, the others finish their shares: {error}"
                Console(stderr=True, soft_wrap=True).print(note, markup=False, highlight=False)
            with suppress(ValueError):  # should another one have died: this error came first
                self._exchange(str(error))
            raise
        for problem in self._exchange(None):
            if problem is not None:
                raise ValueError(problem)

    def _exchange(self, problem: str | None) -> list[str | None]:
        """What went wrong in each process; waits until all have said so."""
        problems = [problem] * self.world_size
        if self.world_size > 1:
            from torch import distributed

            try:
                distributed.all_gather_object(problems, problem)
            except RuntimeError as error:  # gloo's for a connection that closed
                raise ValueError(
                    "another process has ended before its share of the questions was answered; its own "
                    "message says why. What was answered is kept: start the same command again"
                ) from error
        return problems


ALONE = Processes()


@contextmanager
def connected() -> Iterator[Processes]:
    """This process among those that the launcher started, connected to them during the block.

    Without a launcher it is alone.

    Raises:
        ValueError: the others cannot be reached.
    """
    world_size = int(os.environ.get("WORLD_SIZE", 1))
    if world_size == 1:
        yield ALONE
        return
    from torch import distributed

    try:
        distributed.init_process_group("gloo", timeout=_PATIENCE)
    except (ValueError, RuntimeError) as error:  # by what is missing: an address, a name, another process
        raise ValueError(
            f"WORLD_SIZE is {world_size}, but the other processes cannot be reached "
            f"({str(error).splitlines()[0]}); start them with torchrun"
        ) from error
    try:
        yield Processes(distributed.get_rank(), world_size)
    finally:
        distributed.destroy_process_group()


def local_rank() -> int:
    """Number of this process on its machine, which is also the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", 0))
