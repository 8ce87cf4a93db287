"""Tables of records: what is read, what is a bad record, and what is refused as a whole."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import threading
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipalign.data import documents
from clipalign.data.lines import MAX_LINE_BYTES
from clipalign.data.readers import open_input
from clipalign.data.records import InputRecord
from clipalign.data.sources import read_image
from clipalign.errors import ImageUnreadable, InputUnreadable, MissingExtra, UsageError

ROWS: list[dict[str, Any]] = [
    {"image": "a.jpg", "text": "a cup"},
    {"image": "b.jpg", "text": 'two "red" cups,\non a table', "id": "second", "references": ["cups", "a table"]},
    {"image": "https://example.org/c.jpg", "text": "é 猫 🐈", "id": "7"},
]


def write(folder: Path, name: str, rows: list[dict[str, Any]] = ROWS) -> Path:
    """``rows`` as the kind of table that ``name`` says."""
    path = folder / name
    plain = name.removesuffix(".gz")
    if plain.endswith(".jsonl"):
        content = "".join(json.dumps(row) + "\n" for row in rows)
    elif plain.endswith(".json"):
        content = json.dumps(rows, indent=1)
    elif plain.endswith(".parquet"):
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        columns = ("image", "text", "id", "references")
        table = {column: [row.get(column) for row in rows] for column in columns}
        parquet.write_table(pyarrow.table(table), path, row_group_size=2)
        return path
    else:
        stream = io.StringIO()
        tabs = plain.endswith(".tsv")  # where nothing is quoted, and no text has a line end
        writer = (
            csv.writer(stream, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None) if tabs else csv.writer(stream)
        )
        writer.writerow(["id", "image", "text", "note", "references"])
        for row in rows:
            references = json.dumps(row["references"]) if "references" in row else ""
            text = row["text"].replace("\n", " ") if tabs else row["text"]
            writer.writerow([row.get("id", ""), row["image"], text, "x", references])
        content = stream.getvalue()
    data = content.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def read(*names: Path | str, **options: Any) -> list[InputRecord]:
    return list(open_input([str(name) for name in names], **options).records())


def problem(record: InputRecord) -> str:
    """What is wrong with a record."""
    assert isinstance(record.problem, InputUnreadable)
    return record.problem.message


KINDS = ["p.jsonl", "p.json", "p.csv", "p.tsv", "p.parquet", "p.jsonl.gz", "p.json.gz", "p.csv.gz", "p.tsv.gz"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_table_gives_the_same_records(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, kind)
    records = read(path)
    assert [record.problem for record in records] == [None] * 3
    assert [record.id for record in records] == ["a.jpg", "second", "7"]
    assert [record.image_name for record in records] == [row["image"] for row in ROWS]
    assert [record.text.replace("\n", " ") for record in records] == [row["text"].replace("\n", " ") for row in ROWS]
    assert [record.references for record in records] == [(), ("cups", "a table"), ()]
    assert [record.place.number for record in records] == [0, 1, 2]
    assert {record.place.file for record in records} == {str(path)}
    assert open_input([str(path)]).count() == (None if kind.endswith(".gz") else 3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shards", [1, 2, 3, 7])
def test_shards_have_every_record_once(tmp_path: Path, kind: str, shards: int) -> None:
    source = open_input([str(write(tmp_path, kind)), str(write(tmp_path, "other.jsonl", ROWS[:2]))])
    whole = list(source.records())
    assert [(record.place.file[-11:], record.place.number) for record in whole[3:]] == [
        ("other.jsonl", 0),
        ("other.jsonl", 1),
    ]
    parts = [list(source.records((index, shards))) for index in range(1, shards + 1)]
    found = [record for part in parts for record in part]
    assert sorted(map(str, found)) == sorted(map(str, whole))
    if shards <= 2:
        assert found == whole, "whole files, in their order"


def test_neighbors_of_one_picture_stay_together_in_a_shard(tmp_path: Path) -> None:
    rows = [{"image": f"{number // 3}.jpg", "text": str(number)} for number in range(12)]
    source = open_input([str(write(tmp_path, "p.jsonl", rows))])
    assert [record.text for record in source.records((2, 3))] == ["3", "4", "5"]
    assert [record.text for record in source.records((1, 3))] == ["0", "1", "2", "9", "10", "11"]


def test_a_limit_is_of_all_inputs_together(tmp_path: Path) -> None:
    names = [str(write(tmp_path, name)) for name in ("p.jsonl", "q.jsonl")]
    assert [record.place.number for record in open_input(names, limit=4).records()] == [0, 1, 2, 0]
    assert open_input(names, limit=4).count() == 4


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    for name, first in (("p.jsonl", 1), ("p.csv", 2), ("p.tsv", 2)):
        assert [record.place.line for record in read(write(tmp_path, name))][:2] == [first, first + 1]
    assert read(write(tmp_path, "p.csv"))[2].place.line == 5, "a line end within quotes counts"
    assert [record.place.line for record in read(write(tmp_path, "p.json"))] == [2, 6, 15]


def picture_of(record: InputRecord) -> bytes:
    """What a run reads for it."""
    assert isinstance(record.image, str | Path | bytes)
    return read_image(record.image, name=record.image_name, folders=record.folders)


def test_a_picture_is_looked_for_in_the_root_or_beside_the_table_then_around(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, names in (("data", "ab"), ("here", "bc"), ("root", "a")):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / f"{name}.jpg").write_text(folder)
    monkeypatch.chdir(tmp_path / "here")
    rows = [{"image": name, "text": "x"} for name in ("a.jpg", "b.jpg", "c.jpg", str(tmp_path / "root" / "a.jpg"))]
    path = write(tmp_path / "data", "p.jsonl", rows)
    assert [picture_of(record) for record in read(path)] == [b"data", b"data", b"here", b"root"]
    rooted = read(path, image_root=tmp_path / "root")
    assert picture_of(rooted[0]) == b"root"
    with pytest.raises(ImageUnreadable, match=r"^there is no file b\.jpg") as caught:
        picture_of(rooted[1])
    assert caught.value.hint == f"looked in {tmp_path / 'root'}"
    (tmp_path / "here" / "c.jpg").unlink()
    with pytest.raises(ImageUnreadable) as caught:
        picture_of(read(path)[2])
    looked = f"looked in {tmp_path / 'data'} and {tmp_path / 'here'}"
    assert caught.value.hint == f"{looked}; --image-root DIR names another"
    assert [record.image_name for record in rooted] == [row["image"] for row in rows]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("aar_test_04600", "aar_test_04600.jpg"),
        ("cup 2.0", "cup 2.0.png"),
        (391895, "COCO_val2014_000000391895.jpg"),
        ("000000391895", "000000391895.jpg"),
        ("391895", "COCO_train2014_000000391895.jpg"),
    ],
)
def test_a_name_without_an_ending_is_looked_for_with_one(tmp_path: Path, name: str | int, file: str) -> None:
    (tmp_path / file).write_bytes(b"found")
    assert picture_of(read(write(tmp_path, "p.jsonl", [{"image": name, "text": "x"}]))[0]) == b"found"


def test_json_lines_from_editors_of_all_kinds(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"image": "a", "text": "x"}\r\n\r\n   \n{"image": "b", "text": "y"}')
    assert [(record.image_name, record.place.line) for record in read(path)] == [("a", 1), ("b", 4)]
    assert open_input([str(path)]).count() == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"image": "a"', "not valid JSON"),
        ('["a", "x"]', "the record is not an object but a list"),
        ("null", "the record is not an object but null"),
        ('{"text": "x"}', "there is no image"),
        ('{"image": "a"}', "there is no text"),
        ('{"image": "", "text": "x"}', "the image is empty"),
        ('{"image": "-", "text": "x"}', "the image is -"),
        ('{"image": 5.5, "text": "x"}', "the image must be a string, not a number"),
        ('{"image": "a\\u0000", "text": "x"}', "the image holds a null character"),
        ('{"image": "a", "text": null}', "the text is empty"),
        ('{"image": "a", "text": ["x"]}', "the text must be a string, not a list"),
        ('{"image": "a", "text": "x", "id": 1.5}', "the id must be a string or a whole number, not a number"),
        ('{"image": "a", "text": "x", "references": "y"}', "the references must be a list of strings"),
        ('{"image": "a", "text": "x", "references": [1]}', "the references must be a list of strings"),
    ],
)
def test_a_bad_record_costs_itself_alone(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "p.jsonl"
    good = '{"image": "a", "text": "x"}'
    path.write_text(f"{good}\n{line}\n{good}\n")
    first, bad, last = read(path)
    assert first.problem is None
    assert last.problem is None
    assert problem(bad).startswith(said)
    assert bad.problem is not None
    assert bad.problem.input == f"{path}:2"
    assert (bad.place.number, bad.place.line) == (1, 2)
    assert (first.id, bad.id) in (("a", "2"), ("a", "a#2"), ("a", "-"))


def test_a_text_is_not_missed_where_none_is_needed(tmp_path: Path) -> None:
    path = write(tmp_path, "p.jsonl", [{"image": "a"}])
    assert [(record.text, record.problem) for record in read(path, needs_text=False)] == [("", None)]
    assert read(write(tmp_path, "p.csv", [{"image": "a", "text": ""}]), needs_text=False)[0].problem is None


def test_bytes_that_are_no_utf8_are_a_bad_record(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes(b"image,text\na,\xff\nb,y\n")
    (tmp_path / "p.jsonl").write_bytes(b'{"image": "a", "text": "\xff"}\n{"image": "b", "text": "y"}\n')
    (tmp_path / "p.json").write_bytes(b'[{"image": "a", "text": "\xff"}, {"image": "b", "text": "\\ud800"}]')
    for name, good in (("p.csv", 1), ("p.jsonl", 1), ("p.json", 0)):
        records = read(tmp_path / name)
        assert "not valid" in problem(records[0]) or "UTF-8" in problem(records[0])
        assert sum(record.problem is None for record in records) == good


def test_a_line_too_long_is_passed_over_without_being_held(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    good = b'{"image": "a", "text": "x"}\n'
    path.write_bytes(good + b'{"text": "' + b"x" * (2 * MAX_LINE_BYTES) + b'"}\n' + good)
    _, bad, last = read(path)
    assert "longer than" in problem(bad)
    assert last.problem is None
    assert last.place.line == 3


def test_columns_under_other_names_are_refused_with_the_one_meant(tmp_path: Path) -> None:
    for kind in ("p.jsonl", "p.json"):
        path = write(tmp_path, kind, [{"image": "a", "caption": "x"}])
        with pytest.raises(InputUnreadable, match="has no column text; it has image, caption") as caught:
            open_input([str(path)])
        assert caught.value.hint == "--columns text=caption"
    (tmp_path / "p.csv").write_text("Image,text\na,x\n")
    with pytest.raises(InputUnreadable, match="it has Image, text") as caught:
        open_input([str(tmp_path / "p.csv")])
    assert caught.value.hint == "--columns image=Image"


def test_an_id_may_be_a_whole_number_and_is_the_record_s_own_where_there_is_none(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"image": "a", "text": "x", "id": 41},
        {"image": "a", "text": "x", "id": None},
        {"image": "a", "text": "x"},
    ]
    assert [record.id for record in read(write(tmp_path, "p.jsonl", rows))] == ["41", "a", "a#2"]


def test_other_columns_are_left_alone(tmp_path: Path) -> None:
    path = write(tmp_path, "p.jsonl", [{"image": "a", "text": "x", "caption": "y", "url": 5}])
    assert read(path)[0].problem is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("image\ttext\na\tx\n", "are separated by tabs, not by commas"),
        ("image,text,image\na,x,b\n", "has two columns image"),
        ("a.jpg,a cup\n", "has no column image; it has a.jpg, a cup"),
    ],
)
def test_a_csv_without_its_columns_is_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "p.csv"
    path.write_text(content)
    with pytest.raises(InputUnreadable, match=said):
        open_input([str(path)])


@pytest.mark.parametrize("mark", [";", "|"])
def test_a_csv_may_have_another_separator(tmp_path: Path, mark: str) -> None:
    (tmp_path / "p.csv").write_text(f'\ufeffimage{mark}text\na{mark}x, y\nb{mark}"z{mark} w"\n')
    found = read(tmp_path / "p.csv")
    assert [(record.image_name, record.text, record.place.line) for record in found] == [
        ("a", "x, y", 2),
        ("b", f"z{mark} w", 3),
    ]


def test_rows_of_csv_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text('image, text\na,x,extra\n\nb\nc,"z"y\nd,fine\n')
    long, short, quoted, fine = read(path)
    assert problem(long) == "the row has 3 fields for 2 columns"
    assert problem(short) == "the text is empty"
    assert problem(quoted).startswith("not valid CSV")
    assert (fine.text, fine.problem, fine.place.line) == ("fine", None, 6)


def test_a_quote_that_is_not_closed_costs_its_own_record(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text('image,text\na,"so nice\nb,fine\n\nc,fine\n')
    bad, *good = read(tmp_path / "p.csv")
    assert [(record.image_name, record.problem) for record in good] == [("b", None), ("c", None)]
    assert "a quote is" in problem(bad) and bad.place.line == 2


def test_nothing_is_a_quote_in_tsv(tmp_path: Path) -> None:
    (tmp_path / "p.tsv").write_text('image\ttext\na\t"so nice\nb\tfine\nc\t"all of it"\nd\tsaid "\n')
    assert [record.text for record in read(tmp_path / "p.tsv")] == ['"so nice', "fine", '"all of it"', 'said "']


@pytest.mark.parametrize("ending", ["csv.gz", "jsonl.gz", "json.gz"])
@pytest.mark.parametrize("filler", [b"a", b"\n"])
def test_what_never_ends_is_left(tmp_path: Path, ending: str, filler: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, limit in (
        ("tables", "MAX_LINE_BYTES"),
        ("documents", "MAX_ELEMENT_CHARACTERS"),
        ("lines", "MAX_LINE_BYTES"),
        ("lines", "MAX_PASSED_BYTES"),
    ):
        monkeypatch.setattr(f"clipalign.data.{module}.{limit}", 100_000)
    path = tmp_path / f"p.{ending}"
    first = {"c": b"image,text\n", "j": b'[{"image": "a", "text": "x"}\n'}[ending[0]]
    first = first.removeprefix(b"[") if ending == "jsonl.gz" else first
    path.write_bytes(gzip.compress(first + filler * 1_000_000))
    *_, last = read(path)
    assert ("is not valid JSON" if filler == b"a" and ending == "json.gz" else "too much data") in problem(last)


@pytest.mark.parametrize("end", [b"\r", b"\r\n", b" \r\r "])
def test_json_lines_with_line_ends_of_old_systems(tmp_path: Path, end: bytes) -> None:
    rows = [b'{"image": "a",\r"text": "b"}', b'{"image": "c", "text": "d", "note": {"x":\r{}}}', b"nothing"]
    (tmp_path / "p.jsonl").write_bytes(end.join(rows[:2]) + b"\n" + rows[2])
    first, second, third = read(tmp_path / "p.jsonl")
    assert (first.text, second.text, second.place.line, third.place.line) == ("b", "d", 2, 3)


def test_an_array_ends_where_it_is_nested_too_deeply_and_says_so(tmp_path: Path) -> None:
    deep = "[" * 200_000 + "]" * 200_000
    (tmp_path / "p.json").write_text(f'[{{"image": "a", "text": "b"}}, {deep}, {{"image": "c", "text": "d"}}]')
    first, last = read(tmp_path / "p.json")
    assert first.problem is None and "nested too deeply; what follows is not read" in problem(last)


def test_a_field_longer_than_python_allows_by_itself(tmp_path: Path) -> None:
    text = "word " * 40_000  # 131,072 is what the csv module allows
    assert read(write(tmp_path, "p.csv", [{"image": "a", "text": text}]))[0].text == text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ('{"image": "a"}', "is one object, not a list of records"),
        ('"a"', "is not a JSON array"),
        ('[{"image": "a"', "is not valid JSON"),
        ("[1, NaN]", ""),
    ],
)
def test_a_document_that_is_no_array_is_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(content)
    if said:
        with pytest.raises(InputUnreadable, match=said):
            open_input([str(path)])
    else:
        assert [problem(record)[:20] for record in read(path)] == [
            "the record is not an",
            f"{path}:1 is not valid"[:20],
        ]


def test_an_array_that_breaks_off_ends_with_a_bad_record_and_the_next_input_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text('[{"image": "a", "text": "x"},\n {"image": "b"')
    records = read(path, write(tmp_path, "q.jsonl"))
    assert problem(records[1]).startswith(f"{path}:2 is not valid JSON")
    assert [record.problem is None for record in records] == [True, False, True, True, True]
    assert [record.place.number for record in records] == [0, 1, 0, 1, 2]


def test_what_is_only_called_gz_is_no_gzip_file(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl.gz").write_bytes(b'{"image": "a.png", "text": "x"}')
    with pytest.raises(InputUnreadable, match=r"(?m)is not a gzip file$"):
        open_input([str(tmp_path / "p.jsonl.gz")])


def test_a_gz_that_is_cut_short_ends_with_a_bad_record(tmp_path: Path) -> None:
    rows = [{"image": f"{os.urandom(30).hex()}.jpg", "text": "x"} for _ in range(200)]
    path = write(tmp_path, "p.jsonl.gz", rows)
    path.write_bytes(path.read_bytes()[:-500])
    records = read(path)
    assert "breaks off" in problem(records[-1])
    assert len(records) > 100


@given(st.lists(st.text(max_size=40), max_size=20), st.integers(1, 64))
def test_an_array_is_read_alike_in_pieces_of_any_size(texts: list[str], piece: int) -> None:
    values = [{"text": text, "n": [1.5, True, None]} for text in texts] + [12345]
    document = json.dumps(values, ensure_ascii=False, indent=2).encode("utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "_PIECE_BYTES", piece)
        found = [element.value for element in documents.elements_of(io.BytesIO(document))]
    assert found == values


def test_parquet_with_pictures_in_it(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    images = [
        {"bytes": b"jpeg", "path": "a.jpg"},
        {"bytes": None, "path": "b.jpg"},
        None,
        {"bytes": b"x", "path": None},
    ]
    table = pyarrow.table({"image": images, "text": ["a", "b", "c", "d"], "other": [1, 2, 3, 4]})
    parquet.write_table(table, tmp_path / "p.parquet")
    first, second, third, fourth = read(tmp_path / "p.parquet", image_root=tmp_path)
    assert (first.image, first.image_name) == (b"jpeg", "a.jpg")
    assert (second.image, second.image_name, second.folders) == ("b.jpg", "b.jpg", (tmp_path,))
    assert problem(third) == "the image is empty"
    assert fourth.image == b"x"
    assert fourth.image_name


def test_a_column_of_another_type_is_refused(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    good = {"image": "a", "text": "x", "id": 1, "references": ["y"]}
    odd = (timedelta(1), datetime(2000, 1, 1), Decimal("1.5"), 1.5, True, [1], [["y"]], {"a": "b"})
    for name in good:
        for value in odd:
            if (name, value) == ("image", {"a": "b"}):
                continue  # a struct without bytes and path: an error of each record
            parquet.write_table(pyarrow.Table.from_pylist([{**good, name: value}]), tmp_path / "p.parquet")
            with pytest.raises(InputUnreadable, match=f"the column {name} of .* is "):
                open_input([str(tmp_path / "p.parquet")])


def test_a_text_of_parquet_that_is_no_utf8_costs_its_own_record(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    text = pyarrow.array([b"x", b"\xff", b"y"]).view(pyarrow.string())
    parquet.write_table(pyarrow.table({"image": ["a", "b", "c"], "text": text}), tmp_path / "p.parquet")
    assert [record.problem is None for record in read(tmp_path / "p.parquet")] == [True, False, True]


def test_a_small_parquet_does_not_fill_the_memory(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    repeated = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 64, pyarrow.int32()), ["a" * 80_000_000])
    table = pyarrow.table({"image": ["a"] * 64, "text": repeated})
    parquet.write_table(table, tmp_path / "p.parquet", compression="zstd", write_statistics=False)
    assert (tmp_path / "p.parquet").stat().st_size < 10_000
    before = pyarrow.total_allocated_bytes()
    (record,) = read(tmp_path / "p.parquet")
    assert "a page of the column text takes 80,000,004 bytes" in problem(record)
    assert pyarrow.total_allocated_bytes() - before < 1_000_000
    half = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 64, pyarrow.int32()), ["a" * 40_000_000])
    parquet.write_table(table.set_column(1, "text", half), tmp_path / "p.parquet", compression="zstd")
    before = pyarrow.total_allocated_bytes()
    records = open_input([str(tmp_path / "p.parquet")]).records()
    assert problem(next(records)) == "the text has 40,000,000 characters; at most 200,000 are read"
    assert pyarrow.total_allocated_bytes() - before < 200_000_000


def test_a_text_that_nobody_would_read_is_not_held_in_memory(tmp_path: Path) -> None:
    long = {"image": "a", "text": "a" * 200_001}
    listed = {"image": "a", "text": "a", "references": ["b" * 120_000] * 2}
    for record in read(write(tmp_path, "p.jsonl", [long, listed, {"image": "a", "text": "a" * 200_000}]))[:2]:
        assert "characters; at most 200,000 are read" in problem(record)
        assert len(record.text) < 2 and not record.references
    assert read(tmp_path / "p.jsonl")[2].problem is None


def test_references_that_repeat_a_long_text_cost_their_own_record(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    references = pyarrow.array([["b", "c"], ["x" * 1_000_000] * 2000, None, ["b"]], pyarrow.list_(pyarrow.string()))
    table = pyarrow.table({"image": ["a"] * 4, "text": ["a cat"] * 4, "references": references})
    parquet.write_table(table, tmp_path / "p.parquet", compression="zstd", write_statistics=False)
    assert (tmp_path / "p.parquet").stat().st_size < 10_000
    before = pyarrow.default_memory_pool().max_memory()
    good, large, none, last = read(tmp_path / "p.parquet")
    assert (good.references, none.references, last.references) == (("b", "c"), (), ("b",))
    assert "a list in it takes 2,000,000,000 bytes" in problem(large)
    assert pyarrow.default_memory_pool().max_memory() - before < 200_000_000


def test_parquet_needs_its_library_and_its_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.parquet"
    path.write_bytes(b"PAR1 not at all PAR1")
    pytest.importorskip("pyarrow")
    with pytest.raises(InputUnreadable, match="not a readable Parquet file"):
        open_input([str(path)])
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtra, match="reading Parquet needs pyarrow") as caught:
        open_input([str(path)])
    assert caught.value.hint == "pip install 'clipalign[parquet]'"


def test_standard_input_is_json_lines_and_cannot_be_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    content = b'\xef\xbb\xbf{"image": "a", "text": "x"}\n{"image": "b", "text": "y"}\n'
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    source = open_input(["-"])
    assert source.count() is None
    assert source.name == "standard input"
    records = list(source.records())
    assert [record.text for record in records] == ["x", "y"]
    assert str(records[1].place) == "standard input:2"
    with pytest.raises(UsageError, match="can be read once"):
        open_input(["-", "-"])
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(UsageError, match="standard input is closed"):
        open_input(["-"])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_of_the_shell_is_json_lines(tmp_path: Path) -> None:
    pipe = tmp_path / "63"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text('{"image": "a", "text": "x"}\n'))
    writer.start()
    assert [record.text for record in read(pipe)] == ["x"]
    writer.join()


def test_what_is_no_input_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    (tmp_path / "a.docx").write_bytes(b"x")
    (tmp_path / "u.jsonl").write_text("x", encoding="utf-16")
    (tmp_path / "u.csv").write_text("image,text", encoding="utf-16-le")
    (tmp_path / "array.jsonl").write_text('[\n{"image": "a", "text": "x"}\n]\n')
    for name, kind, said in (
        ("a.jpg", UsageError, "is a picture, not a list"),
        ("a.docx", UsageError, "is an unsupported file type"),
        ("no.jsonl", InputUnreadable, "there is no input"),
        ("no.csv", InputUnreadable, "there is no input"),
        ("no.parquet", InputUnreadable, "there is no input"),
        ("no.tar", InputUnreadable, "there is no input"),
        ("no", InputUnreadable, "there is no input"),
        ("*.jsonlx", InputUnreadable, "no file matches"),
        ("u.jsonl", InputUnreadable, "is UTF-16"),
        ("u.csv", InputUnreadable, "is UTF-16 or no text"),
        (os.devnull, UsageError, "is a device"),
        ("array.jsonl", InputUnreadable, "is not JSON lines"),
    ):
        if name.endswith(".parquet"):
            pytest.importorskip("pyarrow")
        with pytest.raises(kind, match=said):
            open_input([str(tmp_path / name)])
    for names in ([], [" "]):
        with pytest.raises(UsageError, match="input"):
            open_input(names)
    with pytest.raises(UsageError, match="there is no folder"):
        open_input([str(write(tmp_path, "p.jsonl"))], image_root=tmp_path / "no")


def test_a_pattern_that_the_shell_left_alone(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl"):
        write(tmp_path, name, ROWS[:1])
    source = open_input([str(tmp_path / "*.jsonl")])
    assert [Path(record.place.file).name for record in source.records()] == ["a.jsonl", "b.jsonl"]
    assert source.name == f"{tmp_path / 'a.jsonl'} and 1 more"
    odd = tmp_path / "[1].jsonl"
    odd.write_text('{"image": "a", "text": "x"}\n')
    assert len(read(odd)) == 1
    (tmp_path / "in[1]").mkdir()
    write(tmp_path, "in[1]/x.jsonl", ROWS[:1])
    for pattern in ("in[1]/*.jsonl", "in[[]1]/*.jsonl"):
        assert len(read(tmp_path / pattern)) == 1
    with pytest.raises(InputUnreadable, match="no pictures") as caught:
        open_input([str(tmp_path / "in[1]")])
    assert len(read(caught.value.hint.split("'")[1])) == 1


def test_quotes_in_a_tsv_are_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.tsv").write_text('image\ttext\na.jpg\t"a cup"\nb.jpg\t"a pear"\n')
    records = list(open_input([str(tmp_path / "a.tsv")]).records())
    assert [record.text for record in records] == ['"a cup"', '"a pear"']
    warned = [record.getMessage() for record in caplog.records if "quotes around a field" in record.getMessage()]
    assert len(set(warned)) == 1
