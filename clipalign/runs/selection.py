"""Which records of a run are kept: those that fulfill ``--where``, and of them the ``--top-share`` with the best score.

The share is exact, in bounded memory and for any number of processes: scores are numbers in a file, ordered by
histograms of 16 bits at a time, which are summed over processes. Ties with the last record kept are kept too.
"""

from __future__ import annotations

import math
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final, TypeAlias, cast

from clipalign.config.conditions import Condition
from clipalign.errors import UsageError
from clipalign.output.records import Record, is_error

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

Counts: TypeAlias = "NDArray[numpy.int64]"

CHUNK: Final = 1 << 18

_BINS: Final = 1 << 16
_SIGN: Final = 1 << 63
_ALL: Final = (1 << 64) - 1


@dataclass
class Selection:
    """What a run keeps.

    Attributes:
        where: condition on each record; None for none.
        share: of the records with the largest ``field``, above 0 and up to 1; None for all.
        least: the smallest kept number of ``field``, once known.
    """

    where: Condition | None = None
    field: str = ""
    share: float | None = None
    least: float | None = None

    def __bool__(self) -> bool:
        return self.where is not None or self.share is not None

    def check(self, record: Record, fields: Iterable[str]) -> None:
        """Raise ``UsageError`` for names that are no fields of a record."""
        known = {*record, *fields, *(record.get("columns") or {})}
        wanted = {
            "--where": self.where.fields if self.where else (),
            "--top-share": (self.field,) if self.share else (),
        }
        for option, names in wanted.items():
            for name in names:
                head, *inside = name.split(".")
                if head in known and (wrong := _missing_inside(record, head, inside)):
                    hint = "texts, numbers and lists have no fields"
                    raise UsageError(f"{option}: {head} has no field {wrong}", hint=hint, input=option)
                if head not in known:
                    hint = f"fields are {', '.join(sorted(known - {'provenance'}))}"
                    raise UsageError(f"{option}: a record has no field {name}", hint=hint, input=option)

    def admits(self, record: Record) -> bool:
        """Return whether the record is written; without a condition every one is, an error too."""
        return not self or self.keeps(record)

    def keeps(self, record: Record) -> bool:
        if is_error(record) or (self.where is not None and not self.where(record)):
            return False
        return self.least is None or ((score := self._score(record)) is not None and score >= self.least)

    def settle(self, records: Iterable[Record], total: Callable[[Counts], Counts] = lambda counts: counts) -> None:
        """Find the smallest kept number in this process's records; ``total`` sums the counts of all processes."""
        if self.share is None:
            return
        with tempfile.TemporaryFile() as file:
            scores = cast(BinaryIO, file)
            for record in records:
                if self.keeps(record) and (score := self._score(record)) is not None:
                    scores.write(struct.pack("=d", score))
            self.least = least_of_top(scores, self.share, total)

    def _score(self, record: Mapping[str, object]) -> float | None:
        value = record.get(self.field)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _missing_inside(record: Record, head: str, inside: list[str]) -> str:
    """Return the first name that cannot be in the value of ``head``; columns differ from record to record."""
    value = record.get(head, (record.get("columns") or {}).get(head))
    for key in inside:
        if value is not None and (not isinstance(value, Mapping) or (head != "columns" and key not in value)):
            return key
        value = value.get(key) if value is not None else None
    return ""


def least_of_top(scores: BinaryIO, share: float, total: Callable[[Counts], Counts]) -> float:
    """Return the smallest of the largest ``share`` of numbers in a file of fp64, their count rounded up."""
    import numpy

    left, prefix = 0, 0
    for shift in (48, 32, 16, 0):
        counts: Counts = numpy.zeros(_BINS, numpy.int64)
        for keys in _keys(scores):
            alike = keys if shift == 48 else keys[(keys >> numpy.uint64(shift + 16)) == numpy.uint64(prefix)]
            digits = ((alike >> numpy.uint64(shift)) & numpy.uint64(_BINS - 1)).astype(numpy.int64)
            counts += numpy.bincount(digits, minlength=_BINS)
        counts = total(counts)
        if not counts.any():
            return math.inf
        if shift == 48:
            left = math.ceil(share * int(counts.sum()) - 1e-9)
        from_top = counts[::-1].cumsum()
        index = int(numpy.searchsorted(from_top, left))
        left -= int(from_top[index] - counts[::-1][index])
        prefix = prefix << 16 | (_BINS - 1 - index)
    bits = prefix ^ _SIGN if prefix & _SIGN else prefix ^ _ALL
    return float(struct.unpack("=d", struct.pack("=Q", bits))[0])


def _keys(scores: BinaryIO) -> Iterator[NDArray[numpy.uint64]]:
    """Yield the numbers as integers in the same order, positive above negative."""
    import numpy

    sign = numpy.uint64(_SIGN)
    scores.seek(0)
    while content := scores.read(8 * CHUNK):
        bits = (numpy.frombuffer(content, numpy.float64) + 0.0).view(numpy.uint64)
        yield numpy.where(bits & sign, ~bits, bits | sign)
