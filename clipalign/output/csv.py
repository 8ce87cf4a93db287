"""Records as CSV for a spreadsheet: RFC 4180, UTF-8, lines ended by a line feed, every cell a plain value.

Lists are joined with semicolons: words as ``word:attribution``, sentences as ``sentence:contribution``, classes as
``name:score``. Kept columns of the input follow, then ``error`` and ``hint``. The provenance of a file goes into
``NAME.provenance.json`` beside it. Texts are not changed: a spreadsheet may read one that starts with ``=`` as a
formula.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import orjson

from clipalign.output.formats import Fields, Writer
from clipalign.output.records import Entry, RecordFormatter, RecordStore, is_error

MAX_KEPT: Final = 1_000
"""Maximum number of input columns with a column of their own."""

_NAMES: Final = ("text", "name")
_NUMBERS: Final = ("attribution", "contribution", "score")
_OTHERS: Final = "columns"
"""Column of JSON for kept columns whose names are unknown when the header is written."""


class CsvWriter(Writer):
    def __init__(self) -> None:
        self._kept: Sequence[str] | None = None

    def header(self, formatter: RecordFormatter) -> bytes:
        return _line([*formatter.columns, *self._others(formatter), "error", "hint"]) if self.has_header else b""

    def entry(self, formatter: RecordFormatter, entry: Entry, *, to_file: bool = False) -> bytes:
        record = entry.record
        kept = record.get(_OTHERS) or {}
        error = record["error"] if is_error(record) else {}
        whole = orjson.dumps(kept).decode() if kept else ""
        others = [whole if name == _OTHERS and name not in kept else kept.get(name) for name in self._others(formatter)]
        values = [*map(record.get, formatter.columns), *others, error.get("message"), error.get("hint")]
        return _line(map(cell_text, values))

    def document(
        self, formatter: RecordFormatter, store: RecordStore, *, summary: Fields, provenance: Fields
    ) -> Iterator[bytes]:
        """Yield all rows after a header that names every column kept by any record."""
        kept = dict.fromkeys(name for _, entry in store.read() for name in entry.record.get(_OTHERS) or ())
        self._kept = list(kept)[:MAX_KEPT]
        yield from super().document(formatter, store, summary=summary, provenance=provenance)

    def _others(self, formatter: RecordFormatter) -> Sequence[str]:
        if self._kept is not None:
            return self._kept
        return [_OTHERS] if formatter.keeps_all else formatter.kept


def provenance_path(path: Path) -> Path:
    """Return ``found.provenance.json`` for ``found.csv``."""
    return path.with_suffix(".provenance.json")


def cell_text(value: object) -> str:
    """Return a value as one cell; numbers read back exactly."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        name = next((value[one] for one in _NAMES if one in value), None)
        number = next((value[one] for one in _NUMBERS if one in value), None)
        if "candidates" in value:
            return f"{name}:{' or '.join(one['text'] for one in value['candidates'])}"
        if name is None:
            return orjson.dumps(value).decode()
        return f"{name}:{'' if number is None else format(number, '.6g')}"
    if isinstance(value, list | tuple):
        return "; ".join(map(cell_text, value))
    return repr(value) if isinstance(value, float) else str(value)


def _line(cells: Iterable[str]) -> bytes:
    return (",".join(map(_quoted, cells)) + "\n").encode("utf-8")


def _quoted(cell: str) -> str:
    """Quote a cell if needed; Python's own writer does not quote a bare carriage return."""
    return '"' + cell.replace('"', '""') + '"' if set(cell) & set('",\r\n') else cell
