"""Whatever ends a run: every record once, none torn; what is not this run's own is left alone."""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from clipalign.config.groups import RecordSettings
from clipalign.data.records import InputRecord
from clipalign.errors import Busy, OutputError, UsageError
from clipalign.output.console import notices
from clipalign.output.detect import DetectFormatter
from clipalign.runs.distributed import Shard
from clipalign.runs.writer import open_writer
from tests.records import APPENDED, FORMATS, HOSTILE, RECORDS, asked, kept_in, run, whole
from tests.results import PROVENANCE

pytestmark = pytest.mark.usefixtures("fresh_notices")


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("stop_after", [0, 1, 5, 11])
def test_a_run_that_is_resumed_writes_what_an_uninterrupted_one_does(
    tmp_path: Path, format: str, stop_after: int
) -> None:
    path = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run(path, RECORDS, format=format, stop_after=stop_after)
    assert path.exists() == (format in APPENDED and stop_after > 0)
    writer = run(path, RECORDS, format=format, resume=True)
    assert path.read_bytes() == whole(tmp_path, format)
    assert (writer.tally.records, writer.tally.unreadable) == (12, 2)
    beside = ["out.provenance.json", "whole.provenance.json"] if format == "csv" else []
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted(["out", f"whole.{format}", *beside])


@pytest.mark.parametrize("format", ["jsonl", "json"])
def test_a_record_torn_at_any_byte_is_cut_off_and_done_again(
    tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # over a thousand runs
    notices.quiet = True
    path = tmp_path / "out"
    kept = kept_in(path, format)
    records = [asked(0), asked(1), asked(2)]  # the last has line feeds, in quotes
    run(path, records, format=format)
    expected = path.read_bytes()
    path.unlink()
    with pytest.raises(KeyboardInterrupt):
        run(path, records, format=format, stop_after=2)
    before = kept.read_bytes()
    last = _grown(kept, before, path, records, format)
    assert last.endswith(b"\n")
    for cut in range(len(last)):
        path.unlink(missing_ok=True)
        kept.write_bytes(before + last[:cut])
        run(path, records, format=format, resume=True)
        assert path.read_bytes() == expected, f"torn after {cut} of {len(last)} bytes"


def _grown(kept: Path, before: bytes, path: Path, records: list[InputRecord], format: str) -> bytes:
    """What the last record adds to the file that records are kept in."""
    with pytest.raises(KeyboardInterrupt):
        run(path, [*records, asked(3)], format=format, stop_after=1, resume=True)
    return kept.read_bytes()[len(before) :]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
@pytest.mark.parametrize("format", APPENDED)
def test_every_caption_may_be_the_torn_one(tmp_path: Path, format: str, number: int) -> None:
    path = tmp_path / "out"
    records = [asked(0), asked(1, HOSTILE[number]), asked(2)]
    run(path, records[:1], format=format)
    before = path.read_bytes()
    run(path, records[:2], format=format, resume=True)
    last = path.read_bytes()[len(before) :]
    run(path, records, format=format, resume=True)
    expected = path.read_bytes()
    for cut in range(0, len(last), 7):
        path.write_bytes(before + last[:cut])
        run(path, records, format=format, resume=True)
        assert path.read_bytes() == expected, f"torn after {cut} bytes"


def test_zeros_that_a_power_failure_left_are_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    run(path, RECORDS[:3])
    expected = path.read_bytes()
    path.write_bytes(expected + b"\0" * 4096)
    run(path, RECORDS[:3], resume=True)
    assert path.read_bytes() == expected


def test_the_torn_line_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "out.jsonl"
    run(path, RECORDS[:2])
    path.write_bytes(path.read_bytes()[:-10])
    capsys.readouterr()
    run(path, RECORDS[:2], resume=True)
    assert "ended in a torn line; " in capsys.readouterr().err


@pytest.mark.parametrize("format", FORMATS)
def test_resuming_what_was_never_begun_begins_it(tmp_path: Path, format: str) -> None:
    run(tmp_path / "out", RECORDS, format=format, resume=True)
    assert (tmp_path / "out").read_bytes() == whole(tmp_path, format)


@pytest.mark.parametrize("format", APPENDED)
def test_resuming_what_is_finished_changes_nothing(tmp_path: Path, format: str) -> None:
    expected = whole(tmp_path, format)
    writer = run(tmp_path / f"whole.{format}", RECORDS, format=format, resume=True)
    assert (tmp_path / f"whole.{format}").read_bytes() == expected
    assert writer.exit_status(check=True) == 3


@pytest.mark.parametrize("format", ["csv", "json", "html", "table", "github"])
def test_a_finished_document_is_left_as_it_is(tmp_path: Path, format: str) -> None:
    expected = whole(tmp_path, format)
    output = tmp_path / f"whole.{format}"
    with open_writer(RecordSettings(output=output, format=format, resume=True), DetectFormatter()) as writer:
        assert writer.finished
    assert (tmp_path / f"whole.{format}").read_bytes() == expected


@pytest.mark.parametrize("format", FORMATS)
def test_what_exists_is_not_written_over_by_accident(tmp_path: Path, format: str) -> None:
    path = tmp_path / "out"
    path.write_text("precious")
    with pytest.raises(UsageError, match="exists already") as caught:
        run(path, RECORDS, format=format)
    assert "--overwrite" in caught.value.hint
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("format", FORMATS)
def test_overwrite_begins_anew(tmp_path: Path, format: str) -> None:
    path = tmp_path / "out"
    path.write_text("old\n")
    run(path, RECORDS, format=format, overwrite=True)
    assert path.read_bytes() == whole(tmp_path, format)


@pytest.mark.parametrize("format", FORMATS)
def test_overwrite_waits_until_the_model_is_there(tmp_path: Path, format: str) -> None:
    from clipalign.output.detect import DetectFormatter
    from clipalign.runs.writer import open_writer

    path = tmp_path / "out"
    path.write_text("precious")
    with (
        pytest.raises(RuntimeError),
        open_writer(RecordSettings(output=path, format=format, overwrite=True), DetectFormatter()),
    ):
        raise RuntimeError("no weights")
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


def test_a_journal_of_another_run_is_not_written_over_by_accident(tmp_path: Path) -> None:
    path = tmp_path / "out.html"
    with pytest.raises(KeyboardInterrupt):
        run(path, RECORDS, stop_after=3)
    before = kept_in(path, "html").read_bytes()
    with pytest.raises(UsageError, match="was begun by another run already"):
        run(path, RECORDS)
    assert kept_in(path, "html").read_bytes() == before


@pytest.mark.parametrize("format", FORMATS)
def test_two_runs_on_one_output_are_refused(tmp_path: Path, format: str) -> None:
    from clipalign.output.detect import DetectFormatter
    from clipalign.runs.writer import open_writer

    path = tmp_path / "out"
    with open_writer(RecordSettings(output=path, format=format), DetectFormatter()) as writer:
        writer.begin(PROVENANCE)
        ways: list[dict[str, Any]] = [{}, {"resume": True}, {"overwrite": True}]
        for how in ways:
            with pytest.raises(Busy, match="another clipalign is at work on"):
                run(path, RECORDS, format=format, **how)
        list(writer.remaining([]))


DIFFERENCES: list[tuple[dict[str, Any], str]] = [
    ({"settings": PROVENANCE.settings | {"epsilon": -1e-4}}, "epsilon was -5e-05, now it is -0.0001"),
    (
        {"settings": PROVENANCE.settings | {"mode": "most-negative"}},
        "mode was 'threshold', now it is 'most-negative'",
    ),
    ({"weights_sha256": "00"}, "weights_sha256 was '9a78"),
    ({"versions": PROVENANCE.versions | {"torch": "2.12.0"}}, "versions.torch was '2.13.0', now it is '2.12.0'"),
    ({"device": "cuda:0"}, "device was 'cpu', now it is 'cuda:0'"),
    ({"notes": ("fp32 instead",)}, r"notes was \[\], now it is \['fp32 instead'\]"),
    ({"settings": PROVENANCE.settings | {"extra": 1}}, "extra was not set, now it is 1"),
]


@pytest.mark.parametrize("format", ["jsonl", "json"])
@pytest.mark.parametrize(("changes", "said"), DIFFERENCES)
def test_other_settings_are_refused_by_the_first_that_differs(
    tmp_path: Path, format: str, changes: dict[str, Any], said: str
) -> None:
    path = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run(path, RECORDS, format=format, stop_after=3)
    before = kept_in(path, format).read_bytes()
    with pytest.raises(UsageError, match=said):
        run(path, RECORDS, format=format, resume=True, provenance=replace(PROVENANCE, **changes))
    assert kept_in(path, format).read_bytes() == before


@pytest.mark.parametrize("format", ["jsonl", "json"])
def test_another_input_is_refused_by_the_first_record_that_differs(tmp_path: Path, format: str) -> None:
    path = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run(path, RECORDS, format=format, stop_after=3)
    others = [*RECORDS[:2], replace(RECORDS[2], text="a dog"), *RECORDS[3:]]
    with pytest.raises(UsageError, match=r"in record 3 text was 'two\\nlines"):
        run(path, others, format=format, resume=True)
    with pytest.raises(UsageError, match="the input ends before record 3"):
        run(path, RECORDS[:2], format=format, resume=True)


def test_a_record_that_is_none_of_a_result_is_refused_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    run(path, RECORDS)
    records = [json.loads(line) for line in path.read_bytes().splitlines()]
    number, found = next((at, one) for at, one in enumerate(records, 1) if "misaligned" in one)
    found["misaligned"] = 5
    path.write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in records))
    with pytest.raises(UsageError, match=f"record {number} of .* is damaged"):
        run(path, RECORDS, resume=True)


def test_an_input_that_has_grown_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    run(path, RECORDS[:4])
    run(path, RECORDS, resume=True)
    assert path.read_bytes() == whole(tmp_path, "jsonl")


@pytest.mark.parametrize("format", APPENDED)
def test_a_file_that_is_no_output_is_left_as_it_is(tmp_path: Path, format: str) -> None:
    path = tmp_path / "out"
    for content in (b"my diary\n", b"my diary, without a line's end\nand more", b'{"id": 1}\n[2]\n'):
        path.write_bytes(content)
        with pytest.raises(
            UsageError, match=r"is not what an earlier run left|is of another run: in record 1 id was 1"
        ):
            run(path, RECORDS, format=format, resume=True)
        assert path.read_bytes() == content


def test_no_record_at_all_is_an_empty_output(tmp_path: Path) -> None:
    for name in ("out.jsonl", "out.csv", "out.json"):
        run(tmp_path / name, [])
    assert (tmp_path / "out.jsonl").read_bytes() == b""
    assert (tmp_path / "out.csv").read_text().startswith("id,image,text,")
    document = json.loads((tmp_path / "out.json").read_bytes())
    assert (document["results"], document["summary"]["records"]) == ([], 0)


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_shards_one_after_another_are_the_whole(tmp_path: Path, format: str) -> None:
    for part, records in enumerate((RECORDS[:5], RECORDS[5:9], RECORDS[9:])):
        run(tmp_path / str(part), records, format=format, shard=Shard(part + 1, 3))
    parts = b"".join((tmp_path / str(part)).read_bytes() for part in range(3))
    assert parts == whole(tmp_path, format)


def test_lines_that_are_packed_are_the_same_lines(tmp_path: Path) -> None:
    run(tmp_path / "out.jsonl.gz", RECORDS)
    assert gzip.decompress((tmp_path / "out.jsonl.gz").read_bytes()) == whole(tmp_path, "jsonl")
    with pytest.raises(UsageError, match=r"the format jsonl\.gz needs a file"):
        run(None, RECORDS, format="jsonl.gz")


def test_the_provenance_of_a_table_stands_beside_it(tmp_path: Path) -> None:
    run(tmp_path / "out.csv", RECORDS)
    assert json.loads((tmp_path / "out.provenance.json").read_bytes())["settings"] == PROVENANCE.settings


def test_outputs_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text("{}\n")
    (tmp_path / "link.jsonl").symlink_to("pairs.jsonl")
    for output, said in [
        (tmp_path, "holds other files"),
        (tmp_path / "none" / "out.jsonl", "is in a folder that is not there"),
        (tmp_path / "pairs.jsonl", "is an input"),
        (tmp_path / "link.jsonl", "is an input"),
        (Path("a\0b.jsonl"), "cannot be used"),
    ]:
        with pytest.raises(UsageError, match=said):
            run(output, RECORDS, overwrite=True, input=(str(tmp_path / "pairs.jsonl"),))
    with pytest.raises(UsageError, match="resume needs output"):
        run(None, RECORDS, resume=True)
    with pytest.raises(UsageError, match="exclude each other"):
        run(tmp_path / "out.jsonl", RECORDS, resume=True, overwrite=True)


@pytest.mark.parametrize("typed", ["~/pairs.jsonl", "*.jsonl", "**/p?irs.jsonl"])
def test_an_input_is_no_output_however_it_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    Path("pairs.jsonl").write_text("{}\n")
    with pytest.raises(UsageError, match="is an input"):
        run(Path("pairs.jsonl"), RECORDS, overwrite=True, input=(typed,))
    assert Path("pairs.jsonl").read_text() == "{}\n"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.html").write_text("old")
    (tmp_path / "link.html").symlink_to("real.html")
    run(tmp_path / "link.html", RECORDS, overwrite=True)
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "real.html").read_bytes() == whole(tmp_path, "html")


def test_a_device_takes_records_as_they_come() -> None:
    run(Path(os.devnull), RECORDS, format="csv")
    with pytest.raises(UsageError, match="is no file that resume could read"):
        run(Path(os.devnull), RECORDS, resume=True)
    if Path("/dev/full").exists():
        for format in FORMATS:
            with pytest.raises(OutputError, match="the disk is full"):
                run(Path("/dev/full"), RECORDS, format=format)


def test_the_ending_says_the_format(tmp_path: Path) -> None:
    run(tmp_path / "a.JSON", RECORDS)
    assert json.loads((tmp_path / "a.JSON").read_bytes())["summary"]["records"] == 12
    with pytest.raises(UsageError, match=r"a\.data' does not say a format"):
        run(tmp_path / "a.data", RECORDS)
    run(tmp_path / "b.json", RECORDS, format="csv")
    assert (tmp_path / "b.json").read_text().startswith("id,")


def test_unreadable_records_are_told_of_and_then_only_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [asked(number) for number in range(100)]
    run(tmp_path / "out.jsonl", records)
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert told[0] == "warning: pairs.jsonl:5: 4.png does not exist"
    assert told[10:] == ["warning: further pairs that cannot be read are only counted"]
