"""Which records are kept: exactly the best share, the same for any number of processes, in any format."""

from __future__ import annotations

import gzip
import io
import json
import math
import re
import tarfile
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipalign.config.conditions import condition
from clipalign.errors import UsageError
from clipalign.runs import selection as selection_module
from clipalign.runs.selection import Counts, Selection, least_of_top
from tests.records import RECORDS, kept_in, run

pytestmark = pytest.mark.usefixtures("fresh_notices")
NUMBERS = st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32) | st.sampled_from([0.0, -0.0, 1.0]))


def scores_of(values: list[float]) -> io.BytesIO:
    return io.BytesIO(numpy.array(values, numpy.float64).tobytes())


def slow(values: list[float], share: float) -> float:
    """The same by sorting."""
    count = math.ceil(share * len(values) - 1e-9)
    return sorted(values, reverse=True)[count - 1] if values else math.inf


@given(NUMBERS, st.sampled_from([0.001, 0.1, 0.3, 0.5, 1.0]))
def test_the_least_number_is_that_of_sorting(values: list[float], share: float) -> None:
    assert least_of_top(scores_of(values), share, lambda counts: counts) == slow(values, share)


@pytest.mark.parametrize("jobs", [1, 4, 7])
def test_processes_find_the_same_together(jobs: int) -> None:
    values = numpy.random.default_rng(0).normal(size=1000).tolist()
    barrier, parts, found = threading.Barrier(jobs), [numpy.zeros(0, numpy.int64)] * jobs, [0.0] * jobs

    def work(rank: int) -> None:
        def total(counts: Counts) -> Counts:
            parts[rank] = counts
            barrier.wait()
            whole: Counts = numpy.sum(parts, axis=0)
            barrier.wait()
            return whole

        found[rank] = least_of_top(scores_of(values[rank::jobs]), 0.3, total)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [slow(values, 0.3)] * jobs


def test_memory_does_not_grow_with_the_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection_module, "CHUNK", 10_000)

    def peak(count: int) -> int:
        selection = Selection(field="s", share=0.3)
        tracemalloc.start()
        selection.settle({"s": number * 0.5} for number in range(count))
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert selection.least == slow([number * 0.5 for number in range(count)], 0.3)
        return top

    assert peak(120_000) < peak(60_000) + 100_000


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_where_keeps_what_fulfills_it_whatever_the_shards(tmp_path: Path) -> None:
    where = condition("clip_score > 0.502 and not misaligned")
    run(tmp_path / "all.jsonl", RECORDS)
    wanted = [one["id"] for one in lines(tmp_path / "all.jsonl") if "error" not in one and where(one)]
    for shards in (1, 4, 7):
        found = []
        for index in range(shards):
            run(tmp_path / f"{shards}-{index}.jsonl", RECORDS[index::shards], where=where)
            found += [one["id"] for one in lines(tmp_path / f"{shards}-{index}.jsonl")]
        assert sorted(found) == sorted(wanted) and 0 < len(wanted) < len(RECORDS)


@pytest.mark.parametrize("format", ["jsonl", "jsonl.gz", "csv", "json"])
def test_the_best_share_in_every_format_also_after_an_interruption(
    tmp_path: Path, format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run(path, RECORDS, format=format, top_share=("", 0.3), stop_after=5)
    assert not path.exists() and kept_in(path, "html").exists()
    run(path, RECORDS, format=format, top_share=("", 0.3), resume=True)
    data = gzip.decompress(path.read_bytes()) if format.endswith("gz") else path.read_bytes()
    found = [number for number in range(12) if re.search(rf"\b{number}\.png".encode(), data)]
    assert found == [8, 10, 11], "the best three of ten that could be read"
    assert "kept 3 of 12 pairs, those of clip_score >= 0.508" in capsys.readouterr().err


def test_a_field_that_no_record_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="where: a record has no field clipscore") as caught:
        run(tmp_path / "a.jsonl", RECORDS, where=condition("clipscore > 0.5"))
    assert "clip_score" in caught.value.hint
    with pytest.raises(UsageError, match="share: a record has no field x"):
        run(tmp_path / "b.jsonl", RECORDS, top_share=("x", 0.5))


def test_a_shard_of_the_kept_pairs_reads_back(tmp_path: Path) -> None:
    from clipalign.data.readers import open_input
    from clipalign.output.detect import DetectFormatter
    from clipalign.output.records import Entry, EntryList
    from clipalign.output.tar import TarWriter
    from tests.results import COKE

    entries = EntryList([Entry(COKE.to_dict(), content=b"\x89PNG..."), Entry(COKE.to_dict(), content=b"\xff\xd8\xff")])
    parts = TarWriter().document(DetectFormatter(), entries, summary={}, provenance={})
    (tmp_path / "kept.tar").write_bytes(b"".join(parts))
    with tarfile.open(tmp_path / "kept.tar") as tar:
        assert tar.getnames()[::3] == ["000000000.png", "000000001.jpg"]
    first, second = open_input([str(tmp_path / "kept.tar")]).records()
    assert (first.image, first.text, first.problem) == (b"\x89PNG...", COKE.text, None)
    assert (second.image, second.id) == (b"\xff\xd8\xff", COKE.id)


@pytest.mark.parametrize(
    ("where", "wrong"), [("text.__class__", "__class__"), ("id.x == 1", "x"), ("provenance.modle == 'a'", "modle")]
)
def test_a_name_that_is_in_no_field_is_said(where: str, wrong: str) -> None:
    record = {"id": "1", "text": "a cup", "columns": {}, "provenance": {"model": "a"}}
    with pytest.raises(UsageError, match=f"has no field {wrong}"):
        Selection(condition(where)).check(record, ())
    Selection(condition("columns.label == 1 and provenance.model == 'a'")).check(record, ())
