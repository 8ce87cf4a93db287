"""The outputs of ``detect`` and ``score-long``, read back: ``.jsonl``, gzipped too, and ``.json``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import orjson

from clipalign.data.lines import lines_of, unbroken
from clipalign.errors import InputUnreadable
from clipalign.files import read_text_bytes

OUTPUTS: Final = "give an output of detect or score-long as .jsonl or .json"

OTHER_FORMATS: Final = (".csv", ".parquet", ".tar", ".html", ".txt")


def read_outputs(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records that were scored, in their order; those with an ``error`` are left out.

    Raises:
        InputUnreadable: a missing or damaged file, or one of something else; the message names the line.
    """
    if path.suffix.lower() in OTHER_FORMATS:
        raise InputUnreadable(f"{path} is not read: it is no .jsonl or .json", hint=OUTPUTS, input=str(path))
    for at, record in _documents(path):
        if not isinstance(record, dict) or not isinstance(record.get("image"), str) or not _has_origin(record):
            raise InputUnreadable(f"{path}{at} is no record of a result", hint=OUTPUTS, input=str(path))
        if "error" not in record:
            yield record


def _has_origin(record: dict[str, Any]) -> bool:
    """Return whether a provenance has the shape of one; a record may have none."""
    origin = record.get("provenance") or {}
    return isinstance(origin, dict) and all(isinstance(origin.get(key, {}), dict) for key in ("settings", "versions"))


def _documents(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        if path.suffix.lower() == ".json":
            found = orjson.loads(read_text_bytes(path))
            yield from (("", one) for one in _listed(found))
            return
        for line in unbroken(str(path), lines_of):
            yield f":{line.number}", orjson.loads(line.content)
    except orjson.JSONDecodeError as error:
        raise InputUnreadable(f"{path} is damaged: {error}", hint=OUTPUTS, input=str(path)) from None
    except OSError as error:
        raise InputUnreadable(f"{path} cannot be read: {error.strerror}", hint=OUTPUTS, input=str(path)) from None


def _listed(found: Any) -> list[Any]:
    """The records of a document: ``results`` beside a ``summary``, or one record alone."""
    results = found.get("results") if isinstance(found, dict) else None
    return results if isinstance(results, list) else [found]
