"""Records as CSV for a spreadsheet: RFC 4180, UTF-8, lines ended by a line feed, every cell a plain value.

Lists are joined with semicolons, words stand as ``word:attribution``, sentences as ``sentence:increment``, classes as
``name:score``. Columns of the input that were kept follow, then ``error`` and ``hint``. The provenance stands beside a
file in ``NAME.provenance.json``. Texts are not changed: a spreadsheet may take one that starts with ``=`` for a formula
of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from clipalign.output.formats import Writer
from clipalign.output.records import Entry, RecordFormatter, RecordStore, is_error

MAX_KEPT: Final = 1_000
"""Most columns of the input that get a column of their own."""

_NAMES: Final = ("text", "name")
_NUMBERS: Final = ("attribution", "increment", "score")
_OTHERS: Final = "columns"
"""Where kept columns stand as JSON whose names are not known when the header is written."""


class CsvWriter(Writer):
    """A header, and a row a record."""

    def __init__(self) -> None:
        self._kept: Sequence[str] | None = None

    def header(self, formatter: RecordFormatter) -> bytes:
        """Return the first line."""
        return _line([*formatter.columns, *self._others(formatter), "error", "hint"]) if self.has_header else b""

    def entry(self, formatter: RecordFormatter, entry: Entry, *, to_file: bool = False) -> bytes:
        """Return the record's row; line feeds inside a text stay, in quotes."""
        record = entry.record
        kept = record.get(_OTHERS) or {}
        error = record["error"] if is_error(record) else {}
        whole = orjson.dumps(kept).decode() if kept else ""
        others = [whole if name == _OTHERS and name not in kept else kept.get(name) for name in self._others(formatter)]
        values = [*map(record.get, formatter.columns), *others, error.get("message"), error.get("hint")]
        return _line(map(cell_text, values))

    def document(
        self,
        formatter: RecordFormatter,
        store: RecordStore,
        *,
        summary: Mapping[str, Any],
        provenance: Mapping[str, Any],
    ) -> Iterator[bytes]:
        """Yield all rows, behind a header that names every column which a record kept."""
        kept = dict.fromkeys(name for _, entry in store.read() for name in entry.record.get(_OTHERS) or ())
        self._kept = list(kept)[:MAX_KEPT]
        yield from super().document(formatter, store, summary=summary, provenance=provenance)

    def _others(self, formatter: RecordFormatter) -> Sequence[str]:
        if self._kept is not None:
            return self._kept
        return [_OTHERS] if formatter.keeps_all else formatter.kept


def provenance_path(path: Path) -> Path:
    """Where the provenance of a file stands: ``found.provenance.json`` beside ``found.csv``."""
    return path.with_suffix(".provenance.json")


def cell_text(value: object) -> str:
    """Return a value as one cell; numbers so that they read back exactly."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        name = next((value[one] for one in _NAMES if one in value), None)
        number = next((value[one] for one in _NUMBERS if one in value), None)
        if name is None:
            return orjson.dumps(value).decode()
        return f"{name}:{'' if number is None else format(number, '.6g')}"
    if isinstance(value, list | tuple):
        return "; ".join(map(cell_text, value))
    return repr(value) if isinstance(value, float) else str(value)


def _line(cells: Iterable[str]) -> bytes:
    return (",".join(map(_quoted, cells)) + "\n").encode("utf-8")


def _quoted(cell: str) -> str:
    """A cell in quotes where it needs them; Python's own writer leaves a bare carriage return without."""
    return '"' + cell.replace('"', '""') + '"' if set(cell) & set('",\r\n') else cell
