"""Records as Parquet, with lists and structs for what is nested, and the provenance once, in the file's metadata."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from dataclasses import is_dataclass
from types import UnionType
from typing import Any, Final, get_args, get_origin, get_type_hints

import orjson

from clipalign.errors import need
from clipalign.output.formats import Fields, Writer
from clipalign.output.records import Record, RecordFormatter, RecordStore

ROWS: Final = 1_000

_KEPT: Final = "columns"
_LEFT_OUT: Final = "provenance"


class ParquetWriter(Writer):
    """Write one file; the records are read twice, first for their types."""

    def document(
        self, formatter: RecordFormatter, store: RecordStore, *, summary: Fields, provenance: Fields
    ) -> Iterator[bytes]:
        arrow = need("pyarrow", extra="parquet", what="writing Parquet")
        parquet = need("pyarrow.parquet", extra="parquet", what="writing Parquet")
        as_text = False
        try:
            schema = _schema(arrow, formatter, store, as_text=as_text)
        except (arrow.ArrowInvalid, arrow.ArrowTypeError, arrow.ArrowNotImplementedError, OverflowError):
            as_text = True  # a column of the input holds now a number, now a text, or numbers above 64 bits
            schema = _schema(arrow, formatter, store, as_text=as_text)
        schema = schema.with_metadata({"clipalign": orjson.dumps(provenance)})
        pieces = _Pieces()
        with parquet.ParquetWriter(pieces, schema, compression="zstd") as writer:
            for records in _batches(store, as_text=as_text):
                writer.write_table(arrow.Table.from_pylist(records, schema=schema))
                yield pieces.taken()
        yield pieces.taken()


class _Pieces(io.RawIOBase):
    def __init__(self) -> None:
        super().__init__()
        self._held: list[bytes] = []
        self._written = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._held.append(bytes(data))
        self._written += len(self._held[-1])
        return len(self._held[-1])

    def tell(self) -> int:
        return self._written

    def taken(self) -> bytes:
        data = b"".join(self._held)
        self._held.clear()
        return data


def _batches(store: RecordStore, *, as_text: bool) -> Iterator[list[Record]]:
    records = (entry.record for _, entry in store.read())
    while batch := [_row(record, as_text=as_text) for record in itertools.islice(records, ROWS)]:
        yield batch


def _row(record: Record, *, as_text: bool) -> Record:
    row = {name: value for name, value in record.items() if name != _LEFT_OUT}
    if as_text and _KEPT in row:
        row[_KEPT] = orjson.dumps(row[_KEPT]).decode()
    return row


def _schema(arrow: Any, formatter: RecordFormatter, store: RecordStore, *, as_text: bool) -> Any:
    """Return the types of all records: those of a result, met or not, so that parts of a run agree, and those found.

    A kept column that is always empty is text.
    """
    text = arrow.string()
    error = arrow.struct([("code", arrow.int64()), *((name, text) for name in ("type", "message", "hint", "input"))])
    of_results = ((name, _declared(arrow, kind)) for name, kind in formatter.columns.items())
    schema = arrow.schema([*of_results, ("error", error)])
    for records in _batches(store, as_text=as_text):
        names = list(dict.fromkeys(name for record in records for name in record))
        table = arrow.table({name: arrow.array([record.get(name) for record in records]) for name in names})
        schema = arrow.unify_schemas([schema, table.schema], promote_options="permissive")
    return arrow.schema([field.with_type(_filled(arrow, field.type)) for field in schema])


def _declared(arrow: Any, kind: Any) -> Any:
    """The type of what is annotated as ``kind``: a scalar, a dataclass, a tuple of one of them, or such or None."""
    if is_dataclass(kind):
        return arrow.struct([(name, _declared(arrow, of)) for name, of in get_type_hints(kind).items()])
    if get_origin(kind) is tuple:
        return arrow.list_(_declared(arrow, get_args(kind)[0]))
    if get_origin(kind) is UnionType:
        return _declared(arrow, get_args(kind)[0])
    return {str: arrow.string(), float: arrow.float64(), int: arrow.int64(), bool: arrow.bool_()}[kind]


def _filled(arrow: Any, kind: Any) -> Any:
    if arrow.types.is_null(kind):
        return arrow.string()
    if arrow.types.is_list(kind):
        return arrow.list_(_filled(arrow, kind.value_type))
    if arrow.types.is_struct(kind):
        # A struct without fields cannot be written.
        fields = [field.with_type(_filled(arrow, field.type)) for field in kind]
        return arrow.struct(fields) if fields else arrow.string()
    return kind
