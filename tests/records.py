"""Runs over many records without a model: what a writer is given, for tests of where records go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from clipalign.config.groups import RecordSettings
from clipalign.data.records import InputRecord, Place
from clipalign.errors import ImageUnreadable
from clipalign.output.detect import DetectFormatter
from clipalign.results import DetectResult, Provenance
from clipalign.runs.batch import RecordOutcome
from clipalign.runs.distributed import Shard
from clipalign.runs.writer import ResultWriter, open_writer
from tests.results import PROVENANCE, result_of

HOSTILE: tuple[str, ...] = (
    "a cup of coke",
    'say "coke", twice',
    "two\nlines\r\nand a\rhalf",
    "</script><script>alert(1)</script>",
    "=1+1,-2 'x'",
    "nul\0 bidi\u202e bell\x07 é 一杯 👨‍👩‍👧",
    "half \udcff of a byte",
)
"""Captions nobody should write, and somebody does."""


def asked(number: int, text: str | None = None) -> InputRecord:
    """The record of an input at this place."""
    caption = HOSTILE[number % len(HOSTILE)] if text is None else text
    name = f"{number}.png"
    return InputRecord(str(number + 1), name, name, caption, (), Place("pairs.jsonl", number + 1, number))


def finished(record: InputRecord, *, provenance: Provenance = PROVENANCE) -> RecordOutcome[DetectResult]:
    """What a model says of it: every third word is wrong; of every fifth record the picture is missing."""
    if record.place.number % 5 == 4:
        error = ImageUnreadable(f"{record.image_name} does not exist", hint="is the name right?")
        return RecordOutcome(record, error, None)
    words = len(record.text.split())
    values = [(-1e-3 - 1e-5 * place) if place % 3 == 2 else 1e-4 * (place + 1) for place in range(words)]
    result = result_of(record.text, *values)
    score = 0.5 + record.place.number / 1000
    changes: dict[str, Any] = {"id": record.id, "image": record.image_name, "clip_score": score}
    return RecordOutcome(record, replace(result, provenance=provenance, **changes), None)


def run(
    output: Path | None,
    records: Sequence[InputRecord],
    *,
    stop_after: int | None = None,
    provenance: Provenance = PROVENANCE,
    error: type[BaseException] = KeyboardInterrupt,
    shard: Shard | None = None,
    **settings: Any,
) -> ResultWriter:
    """A whole run, or one that ends with ``error`` after some records of its own."""
    writer = open_writer(RecordSettings(output=output, **settings), DetectFormatter(), shard=shard)
    with writer:
        writer.begin(provenance, total=len(records))
        for number, record in enumerate(writer.remaining(_slowly(records))):
            if number == stop_after:
                raise error
            if not writer.write(finished(record, provenance=provenance)):
                break
    return writer


def _slowly(records: Sequence[InputRecord]) -> Iterator[InputRecord]:
    yield from records


RECORDS = [asked(number) for number in range(12)]
FORMATS = ("jsonl", "csv", "jsonl.gz", "json", "html", "table", "github")
APPENDED = ("jsonl",)


def whole(folder: Path, format: str) -> bytes:
    """What an uninterrupted run writes."""
    path = folder / f"whole.{format}"
    run(path, RECORDS, format=format)
    return path.read_bytes()


def kept_in(path: Path, format: str) -> Path:
    """Where an unfinished run keeps its records."""
    return path if format in APPENDED else path.with_name(path.name + ".journal.jsonl")
