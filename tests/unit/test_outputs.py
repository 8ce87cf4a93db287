"""Outputs read back: the formats, records of errors left out, and what is refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import orjson
import pytest

from clipalign.data.outputs import read_outputs
from clipalign.errors import InputUnreadable

RECORDS = [{"id": "1", "image": "a.png"}, {"id": "2", "image": "b.png", "error": {}}, {"id": "3", "image": "c.png"}]
LINES = b"".join(orjson.dumps(one) + b"\n" for one in RECORDS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", LINES),
        ("a.jsonl.gz", gzip.compress(LINES, mtime=0)),
        ("a.json", orjson.dumps({"results": RECORDS, "summary": {}})),
    ],
)
def test_records_of_every_format_but_those_of_errors(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert [one["id"] for one in read_outputs(tmp_path / name)] == ["1", "3"]


def test_outputs_in_another_format_are_not_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"id,image\n")
    with pytest.raises(InputUnreadable, match=r"a\.csv is not read: it is no \.jsonl or \.json"):
        list(read_outputs(tmp_path / "a.csv"))


def test_one_record_is_a_document_too(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_bytes(orjson.dumps(RECORDS[0]))
    assert [one["id"] for one in read_outputs(tmp_path / "one.json")] == ["1"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (LINES + b'{"id": "4", "ima', "is damaged"),
        (LINES + b"[]\n", r"a\.jsonl:4 is no record"),
        (LINES + b'{"image": "a", "provenance": 1}\n', r"a\.jsonl:4 is no record"),
        (LINES + b'{"image": "a", "provenance": {"settings": "a"}}\n', r"a\.jsonl:4 is no record"),
        (None, "no input"),
    ],
)
def test_what_is_no_output_is_refused_with_its_line(tmp_path: Path, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(InputUnreadable, match=said):
        list(read_outputs(tmp_path / "a.jsonl"))
