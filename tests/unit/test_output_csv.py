"""CSV: any record reads back; a torn row is told from a damaged file."""

from __future__ import annotations

import csv as standard_csv
import io
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipalign.output import csv
from clipalign.output.detect import DetectFormatter
from tests.records import HOSTILE, asked, finished
from tests.results import COKE

FORMATTER = DetectFormatter()
TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\",\n\r;\t'\0="))


def record_with(**changes: Any) -> dict[str, Any]:
    return replace(COKE, **changes).to_dict()


@given(TEXTS, TEXTS, st.lists(TEXTS), st.floats(allow_nan=False, allow_infinity=False))
def test_every_record_reads_back(text: str, image: str, words: list[str], score: float) -> None:
    record = record_with(
        text=text, image=image, misaligned=tuple(words), clip_score=score, references=("x",), ref_clip_score=0.5
    )
    back = csv.record_of(FORMATTER, csv.row(FORMATTER, record))
    assert list(csv.rows(io.BytesIO(csv.row(FORMATTER, record) * 2))) == [csv.row(FORMATTER, record)] * 2
    assert {name: record[name] for name in back} == back
    assert set(record) - set(back) == set()


@given(TEXTS, TEXTS)
def test_every_error_reads_back(text: str, message: str) -> None:
    record = finished(asked(4, text)).answer.to_dict()
    record["error"]["message"] = message or "x"
    back = csv.record_of(FORMATTER, csv.row(FORMATTER, record))
    assert (back["error"], back["text"], back["id"]) == (record["error"], text, "5")


@given(st.lists(TEXTS, min_size=1), st.data())
def test_a_torn_row_is_the_beginning_of_one(texts: list[str], data: st.DataObject) -> None:
    whole = [csv.row(FORMATTER, record_with(text=text)) for text in texts]
    cut = data.draw(st.integers(0, len(whole[-1]) - 1))
    torn = whole[-1][:cut]
    assert list(csv.rows(io.BytesIO(b"".join(whole[:-1]) + torn))) == whole[:-1]
    assert csv.is_beginning(torn)


@pytest.mark.parametrize("rest", [b'a,b"c\n1,2', b'"a"b,c', b'1,"two\n3,"four', b'1,2\n3,"x', b'"a" ,b', b"1,2\r\n3"])
def test_damaged_rows_are_no_beginning(rest: bytes) -> None:
    assert not csv.is_beginning(rest)


def test_other_programs_read_the_same(tmp_path: Any) -> None:
    rows = [
        csv.header(FORMATTER),
        *(csv.row(FORMATTER, record_with(text=text.replace("\udcff", "?"))) for text in HOSTILE),
    ]
    found = list(standard_csv.DictReader(io.StringIO(b"".join(rows).decode(), newline="")))
    assert [row["text"] for row in found] == [text.replace("\udcff", "?") for text in HOSTILE]
    assert [float(row["clip_score"]) for row in found] == [COKE.clip_score] * len(HOSTILE)
    assert {row["misaligned"] for row in found} == {'["coke"]'}


def test_the_columns_in_their_order() -> None:
    assert csv.header(FORMATTER).decode() == (
        "id,image,text,model,cosine,clip_score,f_clip_score,sum_negative_attribution,misaligned,words,n_tokens,truncated,"
        "references,ref_clip_score,unknown_words,warnings,error_type,error,hint,provenance\n"
    )


@pytest.mark.parametrize("line", [b"a,b\n", b"\n", b'"open', b"\xff,b\n"])
def test_what_is_no_row_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"cells|unexpected end|decode"):
        csv.record_of(FORMATTER, line)
