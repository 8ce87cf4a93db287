"""Parquet: lists and structs, also where the first records have none; the provenance once."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from clipalign.output.detect import DetectFormatter
from clipalign.output.parquet import ParquetWriter
from clipalign.output.records import Entry, EntryList
from tests.results import COKE

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

ERROR = {
    "id": "1",
    "image": "a",
    "text": "x",
    "error": {"code": 3, "type": "t", "message": "gone", "hint": None, "input": None},
}


def written(*records: dict[str, Any]) -> Any:
    entries = EntryList(Entry(record) for record in records)
    content = b"".join(ParquetWriter().document(DetectFormatter(), entries, summary={}, provenance={"model": "m"}))
    return parquet.read_table(io.BytesIO(content))


def test_records_read_back_as_lists_and_structs() -> None:
    record = COKE.to_dict()
    table = written(ERROR, record)
    first, second = table.to_pylist()
    assert {name: second[name] for name in record if name != "provenance"} == {
        name: value for name, value in record.items() if name != "provenance"
    }
    assert (first["error"], first["words"], second["error"]) == (ERROR["error"], None, None)
    assert pyarrow.types.is_struct(table.schema.field("words").type.value_type)
    assert json.loads(table.schema.metadata[b"clipalign"]) == {"model": "m"}


def test_columns_of_the_input_whose_types_do_not_agree_are_json() -> None:
    record = COKE.to_dict()
    assert written(record | {"columns": {"n": 1}}).to_pylist()[0]["columns"] == {"n": 1}
    mixed = written(record | {"columns": {"n": 1}}, record | {"columns": {"n": "one"}}).to_pylist()
    assert [row["columns"] for row in mixed] == ['{"n":1}', '{"n":"one"}']
    large = written(record | {"columns": {"n": 2**63}}, record | {"columns": {"n": 1}}).to_pylist()
    assert [row["columns"] for row in large] == ['{"n":9223372036854775808}', '{"n":1}']


def test_parts_of_a_run_join_though_in_one_everything_failed() -> None:
    failed, whole = written(ERROR), written(COKE.to_dict())
    for tables in ([failed, whole], [whole, failed]):
        joined = pyarrow.concat_tables(tables, promote_options="default").to_pylist()
        assert [row["cosine"] for row in joined if row["error"] is None] == [COKE.cosine]
    assert failed.schema.field("words").type == whole.schema.field("words").type


def test_no_record_is_a_file_too() -> None:
    assert written().num_rows == 0
