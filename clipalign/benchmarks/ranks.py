"""One run by several processes: ``torchrun`` starts the same command many times, and chunks are dealt out in turns.

Every chunk is scored by one process, composed as in a run of one, so that the numbers are the same to the last digit.
Each process writes the records of its own chunks. What all found is gathered by the first, which joins the records,
measures, writes the result and prints; the others end quietly.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeVar

T = TypeVar("T")

PATIENCE: Final = timedelta(days=7)
"""How long a process waits for slower ones; one that died is noticed by ``torchrun``."""

_VARIABLES: Final = ("RANK", "WORLD_SIZE")


@dataclass(frozen=True, slots=True)
class Ranks:
    """Which of how many processes this is.

    Attributes:
        index: from 0 on.
        count: of all.
        guest: whether somebody else brought the processes together, and parts them.
    """

    index: int = 0
    count: int = 1
    guest: bool = False

    @property
    def first(self) -> bool:
        """Whether this is the one that measures and writes the result."""
        return self.index == 0

    def has(self, number: int) -> bool:
        """Whether chunk ``number``, from 0 on, is for this process."""
        return number % self.count == self.index

    def wait(self) -> None:
        """Until all have come here."""
        if self.count > 1:
            from torch import distributed

            distributed.barrier()

    def gather(self, mine: T) -> list[T]:
        """What all have, in the order of the processes; empty for all but the first."""
        if self.count == 1:
            return [mine]
        from torch import distributed

        found: list[T] | None = [mine] * self.count if self.first else None
        distributed.gather_object(mine, found)
        return found or []

    def close(self) -> None:
        """Nothing is exchanged any more."""
        if self.count > 1 and not self.guest:
            from torch import distributed

            distributed.destroy_process_group()


def join_ranks(environment: Mapping[str, str] | None = None) -> Ranks:
    """The processes that ``torchrun`` started, brought together; one alone where it started none."""
    launched = launched_ranks(environment)
    if launched.count == 1:
        return launched
    from torch import distributed

    guest = distributed.is_initialized()
    if not guest:  # over the CPU: what is exchanged are records
        distributed.init_process_group("gloo", timeout=PATIENCE)
    return Ranks(distributed.get_rank(), distributed.get_world_size(), guest)


def launched_ranks(environment: Mapping[str, str] | None = None) -> Ranks:
    """The same from what ``torchrun`` told this process alone: nobody is brought together, or waited for."""
    environment = os.environ if environment is None else environment
    values = [environment.get(name, "") for name in _VARIABLES]
    if not all(value.isdecimal() for value in values) or int(values[1]) < 2:
        return Ranks()
    return Ranks(int(values[0]), int(values[1]))
