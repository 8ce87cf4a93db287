"""Records of a Parquet file, a few dozen rows at a time.

``image`` is a column of names, of the pictures' bytes, or of structs with ``bytes`` and ``path`` as data sets on model
hubs have it; ``references`` is a list of strings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from clipalign.errors import InputUnreadable
from clipalign.extras import need
from clipalign.inputs.records import InputRecord, Place
from clipalign.inputs.rows import COLUMNS, RowReader, bad_record

_ROWS: Final = 64
"""Rows turned into Python objects at a time; pictures may stand in them."""

_BUFFER_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class ParquetFile:
    """One Parquet file.

    Attributes:
        name: as the user named it.
        reader: of its rows.
    """

    name: str
    reader: RowReader

    def check(self) -> None:
        """Read its schema.

        Raises:
            MissingExtra: pyarrow is not installed.
            InputUnreadable: it is no Parquet file, or has other columns.
        """
        with self._opened() as file:
            self.reader.check_header(file.schema_arrow.names, self.name)

    def count(self) -> int:
        """Its rows."""
        with self._opened() as file:
            return int(file.metadata.num_rows)

    def records(self, begin: int, end: int | None, offset: int) -> Iterator[InputRecord]:
        """See :class:`clipalign.inputs.tables.Source`; row groups before ``begin`` are not read."""
        with self._opened() as file:
            rows = int(file.metadata.num_rows)
            end = rows if end is None else min(end, rows)
            columns = [name for name in file.schema_arrow.names if name in COLUMNS]
            groups, index = _groups(file, begin, end)
            try:
                for batch in file.iter_batches(_ROWS, row_groups=groups, columns=columns, use_threads=False):
                    first = max(begin - index, 0)
                    wanted = batch.slice(first, max(min(end - index, batch.num_rows) - first, 0)).to_pylist()
                    for number, row in enumerate(wanted, index + first):
                        yield self.reader.record(row, Place(self.name, 0, number + offset))
                    index += batch.num_rows
            except (OSError, ValueError) as error:  # pyarrow's own errors are among them
                place = Place(self.name, 0, max(index, begin) + offset)
                yield bad_record(place, InputUnreadable(_sentence(error), input=str(place)))

    def _opened(self) -> Any:
        parquet = need("pyarrow.parquet", extra="parquet", what="reading Parquet")
        try:
            return parquet.ParquetFile(Path(self.name).expanduser(), pre_buffer=False, buffer_size=_BUFFER_BYTES)
        except FileNotFoundError as error:
            raise InputUnreadable(f"there is no input {self.name}", hint="check the path", input=self.name) from error
        except (OSError, ValueError) as error:
            message = f"{self.name} is not a readable Parquet file: {_sentence(error)}"
            raise InputUnreadable(message, input=self.name) from error


def _groups(file: Any, begin: int, end: int) -> tuple[list[int], int]:
    """The row groups that hold the rows from ``begin`` to ``end``, and the number of the first of their rows."""
    chosen: list[int] = []
    first, row = begin, 0
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if row < end and row + rows > begin:
            first = first if chosen else row
            chosen.append(group)
        row += rows
    return chosen, first


def _sentence(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".") or type(error).__name__
