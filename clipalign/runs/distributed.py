"""Which part of an input this process does: of a job array by ``--shard``, of a ``torchrun`` by its rank.

Parts are contiguous stretches of the counted input, so that their outputs, one after another, are what one process
writes. The processes need nothing of each other but to end together: ``torchrun`` stops all of them as soon as one
leaves with another status than 0, and "some pictures could not be read" is one.

One run by several processes: ``torchrun`` starts the same command many times, and chunks are dealt out in turns.

Every chunk is scored by one process, composed as in a run of one, so that the numbers are the same to the last digit.
Each process writes the records of its own chunks. What all found is gathered by the first, which joins the records,
measures, writes the result and prints; the others end quietly.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from clipalign.errors import UsageError

if TYPE_CHECKING:
    from clipalign.config.values import Settings


RANK_VARIABLES: Final = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
"""What ``torchrun`` tells its processes."""

_LOOK_SECONDS: Final = 0.2
_DIGITS: Final = 5


@dataclass(frozen=True, slots=True)
class Share:
    """A part of an input.

    Attributes:
        index: which one, from 1 on.
        count: of how many.
        launched: whether ``torchrun`` decided it.
    """

    index: int
    count: int
    launched: bool = False

    def of(self, records: int) -> slice:
        """The stretch of ``records`` that is this part; parts differ by one record at most."""
        return slice(records * (self.index - 1) // self.count, records * self.index // self.count)

    def output(self, path: Path) -> Path:
        """Where this part is written: under ``torchrun`` ``out.jsonl`` becomes ``out.00001-of-00004.jsonl``."""
        if not self.launched:
            return path
        return path.with_name(f"{path.stem}.{self.index:0{_DIGITS}}-of-{self.count:0{_DIGITS}}{path.suffix}")


def find_share(settings: Settings, environment: Mapping[str, str] | None = None) -> Share | None:
    """The part that this process is asked to do; None for all of it.

    Raises:
        UsageError: ``--shard`` under ``torchrun``, which shares by itself, or ``torchrun`` without ``--output``.
    """
    rank, world = _launched(os.environ if environment is None else environment)
    if world > 1:
        if settings.shard is not None:
            raise UsageError("torchrun shares the input already", hint="leave out --shard", input="--shard")
        if settings.output is None:
            hint = "with --output out.jsonl each process writes a part of its own"
            raise UsageError("several processes cannot share stdout", hint=hint, input="--output")
        return Share(rank + 1, world, launched=True)
    return None if settings.shard is None else Share(*settings.shard)


def with_own_device(settings: Settings, environment: Mapping[str, str] | None = None) -> Settings:
    """``--device auto`` under ``torchrun`` as the GPU of this process, where there are GPUs; imports torch then."""
    environment = os.environ if environment is None else environment
    if settings.device != "auto" or _launched(environment)[1] < 2:
        return settings
    import torch

    if not torch.cuda.is_available():
        return settings
    return replace(settings, device=f"cuda:{int(environment['LOCAL_RANK']) % torch.cuda.device_count()}")


def wait_for_others(environment: Mapping[str, str] | None = None) -> None:
    """Under ``torchrun``, wait until every process has come here, or until the one that keeps count is gone."""
    environment = os.environ if environment is None else environment
    world = _launched(environment)[1]
    if world < 2 or "MASTER_ADDR" not in environment or environment.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return
    from torch.distributed import TCPStore  # type: ignore[attr-defined, unused-ignore]

    key = f"clipalign/done/{environment.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    with suppress(RuntimeError, OSError, ValueError):
        store = TCPStore(
            environment["MASTER_ADDR"], int(environment["MASTER_PORT"]), world, is_master=False, wait_for_workers=False
        )
        store.add(key, 1)
        while int(store.add(key, 0)) < world:
            time.sleep(_LOOK_SECONDS)


def _launched(environment: Mapping[str, str]) -> tuple[int, int]:
    """Rank and number of processes; 0 and 1 where nobody launched several."""
    values = [environment.get(name, "") for name in RANK_VARIABLES]
    if not all(value.isdecimal() for value in values):
        return 0, 1
    rank, world = int(values[0]), int(values[1])
    return (rank, world) if rank < world else (0, 1)


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
