"""CSV for a spreadsheet: plain cells, what is nested as text, what was kept in columns of its own."""

from __future__ import annotations

import csv as standard_csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from clipalign.output.csv import CsvWriter, cell_text, provenance_path
from clipalign.output.detect import DetectFormatter
from clipalign.output.records import Entry, EntryList
from tests.records import HOSTILE
from tests.results import COKE

TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\",\n\r;\t'\0="))


def record_with(columns: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    return replace(COKE, **changes).to_dict() | ({"columns": columns} if columns else {})


def rows_of(*records: dict[str, Any], formatter: DetectFormatter | None = None) -> list[dict[str, str]]:
    """What another program reads."""
    entries = EntryList(Entry(record) for record in records)
    parts = CsvWriter().document(formatter or DetectFormatter(), entries, summary={}, provenance={})
    return list(standard_csv.DictReader(io.StringIO(b"".join(parts).decode(), newline="")))


@given(TEXTS, TEXTS, st.floats(allow_nan=False, allow_infinity=False))
def test_other_programs_read_texts_and_numbers_as_they_were(text: str, image: str, score: float) -> None:
    (row,) = rows_of(record_with(text=text, image=image, clip_score=score))
    assert (row["text"], row["image"], float(row["clip_score"])) == (text, image, score)


def test_texts_that_nobody_should_write() -> None:
    texts = [text.replace("\udcff", "?") for text in HOSTILE]
    assert [row["text"] for row in rows_of(*(record_with(text=text) for text in texts))] == texts


def test_the_columns_in_their_order_and_what_is_nested_as_text() -> None:
    (row,) = rows_of(COKE.to_dict())
    assert list(row) == [
        *("id", "image", "text", "clip_score", "f_clip_score", "ref_clip_score", "cosine", "misaligned", "words"),
        *("suggestions", "truncated", "warnings", "model", "error", "hint"),
    ]
    word = COKE.words[0]
    assert row["words"].startswith(f"{word.text}:{word.attribution:.6g}; ")
    assert (row["misaligned"], row["truncated"], row["error"]) == ("coke", "false", "")


def test_cells() -> None:
    values: tuple[object, ...] = (
        None,
        True,
        0.1,
        3,
        [],
        ["a", "b"],
        {"name": "cat", "score": 0.25},
        {"text": "of", "attribution": None},
    )
    assert list(map(cell_text, values)) == ["", "true", "0.1", "3", "", "a; b", "cat:0.25", "of:"]
    assert cell_text({"a": 1}) == '{"a":1}'


def test_an_error_stands_in_its_own_cells() -> None:
    error = {"id": "1", "image": "a", "text": "x", "error": {"type": "t", "message": "gone", "hint": None}}
    (row,) = rows_of(error)
    assert (row["text"], row["error"], row["hint"], row["cosine"]) == ("x", "gone", "", "")


def test_kept_columns_get_columns_of_their_own_in_a_file() -> None:
    first, second = rows_of(record_with({"label": 1}), record_with({"year": [1, 2]}))
    assert (first["label"], first["year"], second["label"], second["year"]) == ("1", "", "", "1; 2")


def test_in_a_stream_they_do_where_their_names_are_known() -> None:
    formatter = DetectFormatter()
    formatter.kept = ("label",)
    writer = CsvWriter()
    lines = writer.header(formatter) + writer.entry(formatter, Entry(record_with({"label": 1})))
    assert [row["label"] for row in standard_csv.DictReader(io.StringIO(lines.decode()))] == ["1"]
    formatter.keeps_all = True
    lines = writer.header(formatter) + writer.entry(formatter, Entry(record_with({"label": 1})))
    assert [row["columns"] for row in standard_csv.DictReader(io.StringIO(lines.decode()))] == ['{"label":1}']


def test_the_provenance_stands_beside() -> None:
    assert provenance_path(Path("out/found.csv")) == Path("out/found.provenance.json")
