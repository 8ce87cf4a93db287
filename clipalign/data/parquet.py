"""Records of a Parquet file, a few dozen rows at a time.

``image`` is a column of names, of the pictures' bytes, or of structs with ``bytes`` and ``path`` as in data sets of
model hubs; ``references`` is a list of strings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from clipalign.data.lines import MAX_LINE_BYTES, open_bytes
from clipalign.data.records import Row, Source
from clipalign.data.sources import is_file_name
from clipalign.errors import InputUnreadable, need

_ROWS: Final = 64

_BUFFER_BYTES: Final = 1 << 20

BATCH_BYTES: Final = 64_000_000
"""Size of the rows converted at a time, were each as large as the largest page of its column."""

MAX_PAGE_BYTES: Final = 1_000_000_000
"""Largest page read; one above :data:`BATCH_BYTES` must not be compressed more than :data:`MAX_PACKED`-fold."""

MAX_PACKED: Final = 20
MAX_LISTED: Final = 10_000_000

_HELD: Final = {
    "image": "names, bytes or structs of both",
    "text": "strings",
    "id": "strings or whole numbers",
    "references": "lists of strings",
}

_NAMED: Final = 100
"""Indices of a list that ``--columns`` may name, as no schema tells its length."""

_BATCH_ERRORS: Final = (OSError, ValueError, TypeError, LookupError, OverflowError, NotImplementedError, MemoryError)


@dataclass(frozen=True, slots=True)
class ParquetFile(Source):
    def check(self) -> None:
        with self._opened() as file:
            schema = file.schema_arrow
        self.reader.check(_shape(schema), self.name)
        for name, wanted in _HELD.items():
            column = self.reader.column(name)
            if column in schema.names and not _suits(name, schema.field(column).type):
                raise InputUnreadable(
                    f"the column {column} of {self.name} is {str(schema.field(column).type)[:80]}",
                    hint=f"it must hold {wanted}",
                    input=self.name,
                )

    def count(self) -> int:
        with self._opened() as file:
            return int(file.metadata.num_rows)

    def rows(self) -> Iterator[Row]:
        with self._opened() as file:
            columns = [name for name in file.schema_arrow.names if self.reader.wants(name)]
            try:
                for group in range(file.num_row_groups):
                    size = _batch_rows(file, group, columns, self.name)
                    for batch in file.iter_batches(size, row_groups=[group], columns=columns, use_threads=False):
                        for number in range(batch.num_rows):
                            yield Row(self._value(batch, number))
            except _BATCH_ERRORS as error:
                yield Row(InputUnreadable(_sentence(error), input=self.name))

    def _value(self, batch: Any, number: int) -> Any:
        try:
            if (listed := _listed_bytes(batch, number)) > MAX_LINE_BYTES:
                raise ValueError(f"a list in it takes {listed:,} bytes; at most {MAX_LINE_BYTES:,} are read")
            (row,) = batch.slice(number, 1).to_pylist()
        except _BATCH_ERRORS as error:  # a text that is no UTF-8
            return InputUnreadable(_sentence(error), input=self.name)
        return row

    def _opened(self) -> Any:
        parquet = need("pyarrow.parquet", extra="parquet", what="reading Parquet")
        try:
            stream = open_bytes(self.name) if not is_file_name(self.name) else self.path
            about = parquet.read_metadata(stream)
            leaves = [about.schema.column(number) for number in range(about.num_columns)]
            # A value that a list repeats is kept once, until its length has been looked at.
            repeated = [one.path for one in leaves if one.max_repetition_level and one.physical_type == "BYTE_ARRAY"]
            return parquet.ParquetFile(
                stream, pre_buffer=False, buffer_size=_BUFFER_BYTES, read_dictionary=repeated, metadata=about
            )
        except FileNotFoundError as error:
            raise InputUnreadable(f"there is no input {self.name}", hint="check the path", input=self.name) from error
        except (OSError, ValueError) as error:
            message = f"{self.name} is not a readable Parquet file: {_sentence(error)}"
            raise InputUnreadable(message, input=self.name) from error


def _listed_bytes(batch: Any, number: int) -> int:
    """Return the size of a row's lists of strings, counting repeated strings each time."""
    from pyarrow import compute, types

    total = 0
    for column in batch.columns:
        if not (types.is_list(column.type) or types.is_large_list(column.type)):
            continue
        values = column.slice(number, 1).flatten()
        if not types.is_dictionary(values.type):
            total += int(values.nbytes)
            continue
        lengths = compute.binary_length(values.dictionary)
        total += int(compute.sum(compute.cast(compute.take(lengths, values.indices), "int64")).as_py() or 0)
    return total


def _shape(schema: Any) -> dict[str, Any]:
    """Return the columns without values, structs as objects and lists as lists."""
    from pyarrow import types

    def inside(kind: Any) -> Any:
        if types.is_struct(kind):
            return {field.name: inside(field.type) for field in kind}
        return [inside(kind.value_type)] * _NAMED if types.is_list(kind) or types.is_large_list(kind) else None

    return {field.name: inside(field.type) for field in schema}


def _suits(column: str, kind: Any) -> bool:
    from pyarrow import types

    def string(kind: Any) -> bool:
        if types.is_dictionary(kind):
            kind = kind.value_type
        return any(getattr(types, f"is_{name}")(kind) for name in ("string", "large_string", "string_view", "null"))

    def binary(kind: Any) -> bool:
        if types.is_dictionary(kind):
            kind = kind.value_type
        return string(kind) or any(
            getattr(types, f"is_{name}")(kind)
            for name in ("binary", "large_binary", "binary_view", "fixed_size_binary")
        )

    if string(kind):
        return True
    if column == "id":
        return bool(types.is_integer(kind))
    if column == "references":
        lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
        return lists and string(kind.value_type)
    if column == "image" and types.is_struct(kind):
        return all(binary(field.type) for field in kind if field.name in ("bytes", "path"))
    return column == "image" and binary(kind)


def _batch_rows(file: Any, group: int, columns: list[str], name: str) -> int:
    """Return how many rows of a row group may be converted at a time; ``ValueError`` for oversized or damaged pages.

    A page of a few bytes may hold one value of a gigabyte, and a thousand rows that repeat it.
    """
    about, rows = file.metadata.row_group(group), _ROWS
    with open_bytes(name) as stream:
        for number in range(about.num_columns):
            column, listed = about.column(number), 0
            if column.path_in_schema.partition(".")[0] not in columns:
                continue
            repeated = file.schema.column(number).max_repetition_level > 0
            for page, packed, values in _pages(stream, column):
                if page > min(MAX_PAGE_BYTES, max(BATCH_BYTES, MAX_PACKED * packed)):
                    raise ValueError(f"a page of the column {column.path_in_schema} takes {page:,} bytes")
                rows = min(rows, max(1, BATCH_BYTES // max(page, 1)))
                listed += values
            if repeated and listed > MAX_LISTED:
                raise ValueError(f"the column {column.path_in_schema} has {listed:,} values in one row group")
    return rows


def _pages(stream: BinaryIO, column: Any) -> Iterator[tuple[int, int, int]]:
    """Yield bytes, compressed bytes and values of each page of a column, from its own header, which is binding."""
    offset = column.data_page_offset
    if column.has_dictionary_page and 0 < column.dictionary_page_offset < offset:
        offset = column.dictionary_page_offset
    end = offset + column.total_compressed_size
    while offset < end:
        stream.seek(offset)
        header = _struct(stream)
        size, packed = header.get(2), header.get(3)
        if not isinstance(size, int) or not isinstance(packed, int) or size < 0 or packed < 0:
            raise ValueError("the header of a page is damaged")
        data = header.get(5) or header.get(8) or {}
        yield size, packed, data.get(1, 0)
        offset = stream.tell() + packed


def _struct(stream: BinaryIO, depth: int = 0) -> dict[int, Any]:
    """Parse the numbers of a struct in Thrift's compact protocol by field, as far as page headers need it."""
    found: dict[int, Any] = {}
    field = 0
    while (byte := _byte(stream)) != 0:
        kind, step = byte & 15, byte >> 4
        field = field + step if step else _number(stream)
        if kind in (4, 5, 6):
            found[field] = _number(stream)
        elif kind == 8:
            packed = _number(stream)
            stream.seek(packed * 2 if packed >= 0 else -packed * 2 - 1, 1)  # lengths are not zigzagged
        elif kind == 12 and depth < 8:
            found[field] = _struct(stream, depth + 1)
        elif kind in (3, 7):
            stream.seek(1 if kind == 3 else 8, 1)
        elif kind not in (1, 2):
            raise ValueError("the header of a page is damaged")
    return found


def _number(stream: BinaryIO) -> int:
    value = shift = 0
    while shift < 64:
        byte = _byte(stream)
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return (value >> 1) ^ -(value & 1)
    raise ValueError("the header of a page is damaged")


def _byte(stream: BinaryIO) -> int:
    byte = stream.read(1)
    if not byte:
        raise ValueError("the header of a page is damaged")
    return byte[0]


def _sentence(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".") or type(error).__name__
