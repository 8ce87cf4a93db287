"""Many records through one model, in the order of the input, in memory that does not grow with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from clipalign.batch.scorer import Scorer
from clipalign.errors import ClipalignError
from clipalign.inputs.records import InputRecord

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Finished(Generic[R]):
    """A record that is done with.

    Attributes:
        record: as it was read; its ``image`` is empty where it was bytes, which nobody needs any more.
        outcome: the result, or why there is none.
        thumbnail: a small WebP of the picture, where thumbnails were asked for and the picture could be read.
    """

    record: InputRecord
    outcome: R | ClipalignError
    thumbnail: bytes | None = None


def run_batch(
    records: Iterable[InputRecord],
    scorer: Scorer[R],
    *,
    offline: bool = False,
    workers: int | None = None,
    on_error: str = "skip",
    thumbnail_px: int | None = None,
) -> Iterator[Finished[R]]:
    """Score every record; results in the order of the input.

    Args:
        records: read as they are needed.
        scorer: the method.
        offline: whether pictures at addresses are refused.
        workers: threads that read and prepare pictures, at least 1; None for as many as the machine suggests.
        on_error: ``skip``: a record that cannot be used is finished with its error; ``fail``: the first such error is
            raised, after everything before it was finished.
        thumbnail_px: longer side of the thumbnails in pixels; None for none.

    Raises:
        ClipalignError: of the first bad record with ``fail``; what ``scorer`` cannot go on after.
    """
    raise NotImplementedError
