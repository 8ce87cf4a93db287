"""Output in parts: every record once, whatever ends a run, in a folder here and at an address."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from clipalign.calibration import FEATURES, Drift, SavedCalibration
from clipalign.config.conditions import condition
from clipalign.config.groups import RecordSettings
from clipalign.errors import Busy, OutputError, UsageError
from clipalign.output.detect import DetectFormatter
from clipalign.runs import parts
from clipalign.runs.distributed import Shard
from clipalign.runs.parts import open_folder
from clipalign.runs.writer import ResultWriter, open_writer
from tests.records import RECORDS, finished, run, whole
from tests.results import PROVENANCE

CALIBRATION = SavedCalibration(
    "tiny", "abc", 1, "", -1.0, "mine", None, 20, dict.fromkeys(FEATURES, ((-1.0, 0.5), (1.0, 1.0)))
)

pytestmark = pytest.mark.usefixtures("fresh_notices", "memory")


@pytest.fixture(autouse=True)
def _parts_of_five_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_RECORDS", 5)


@pytest.fixture(params=["here", "at an address"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "here":
        (tmp_path / "out").mkdir()
        return tmp_path / "out"
    return Path("memory://bucket/out")


def joined(output: Path, prefix: str = "part-") -> bytes:
    """What ``cat part-*`` gives."""
    folder = open_folder(output)
    names = [name for name in folder.names() if name.startswith(prefix)]
    return b"".join(folder.read(name) or b"" for name in names)


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_the_parts_are_the_whole(output: Path, tmp_path: Path, format: str) -> None:
    writer = run(output, RECORDS, format=format)
    assert joined(output) == whole(tmp_path, format)
    assert open_folder(output).names() == ["_state.json", *(f"part-0000{number}.{format}" for number in range(3))]
    assert (writer.tally.records, writer.tally.unreadable) == (12, 2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tally", {"records": "x"}),
        ("tally", {}),
        ("tally", []),
        ("_sums", {"cosine": "abc"}),
        ("_sums", {"cosine": [0.0, 0.0, 1]}),
        ("_sums", {"cosine": [], "clip_score": [], "f_clip_score": [], "ref_clip_score": []}),
        ("_spellings", [1]),
        ("_spellings", {}),
        ("_frequent", {"dog": []}),
        ("records", "9" * 5000),
        ("parts", None),
    ],
)
def test_a_damaged_state_is_one_line(output: Path, name: str, value: Any) -> None:
    run(output, RECORDS, format="jsonl")
    folder = open_folder(output)
    state = json.loads(folder.read("_state.json") or b"")
    (state["tally"] if name in state["tally"] else state)[name] = value
    folder.write("_state.json", [json.dumps(state).encode()])
    with pytest.raises(UsageError, match=r"_state\.json is damaged") as caught:
        run(output, RECORDS, format="jsonl", resume=True)
    assert "--overwrite" in caught.value.hint
    folder.write("_state.json", [b"["])
    with pytest.raises(UsageError, match=r"_state\.json is damaged"):
        run(output, RECORDS, format="jsonl", resume=True)


def test_a_resumed_run_knows_what_of_the_calibration_was_seen(tmp_path: Path) -> None:
    formatter = DetectFormatter(drift=Drift(CALIBRATION))
    tally, again = formatter.tally(), DetectFormatter(drift=Drift(CALIBRATION)).tally()
    for number in range(3):
        tally.add({"misaligned": [], "words": [{"attribution": 0.1}], "cosine": 0.3 * number})
    again.restore(json.loads(json.dumps(tally.state())))
    assert again.state() == tally.state() and sum(again.state()["drift"]["cosine"]) > 0


def test_parquet_is_read_as_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset: Any = pytest.importorskip("pyarrow.dataset")
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(parts, "PART_RECORDS", 4)
    run(tmp_path / "out", RECORDS, format="parquet")
    rows = dataset.dataset(tmp_path / "out").to_table().to_pylist()  # all have the types of the first part
    assert [row["id"] for row in rows] == [record.id for record in RECORDS]
    assert [bool(row["error"]) for row in rows] == [number % 5 == 4 for number in range(12)]


@pytest.mark.parametrize("stop_after", [0, 1, 5, 7, 11])
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_a_run_that_is_resumed_writes_what_an_uninterrupted_one_does(
    output: Path, tmp_path: Path, stop_after: int, error: type[BaseException]
) -> None:
    with pytest.raises(error):
        run(output, RECORDS, format="jsonl", stop_after=stop_after, error=error)
    writer = run(output, RECORDS, format="jsonl", resume=True)
    expected = whole(tmp_path, "jsonl")
    assert joined(output) == expected
    assert (writer.tally.records, writer.tally.unreadable) == (12, 2)
    again = run(output, RECORDS, format="jsonl", resume=True)
    assert joined(output) == expected
    assert again.tally.summary() == run(None, RECORDS, format="jsonl").tally.summary()


class Killed(BaseException):
    """Nothing that is done at the end of a run happens."""


@pytest.mark.parametrize("write", range(1, 7))
@pytest.mark.parametrize("before", [True, False])
def test_killed_before_or_after_any_write(
    output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: int, before: bool
) -> None:
    kind = type(open_folder(output))
    real, writes = kind.write, 0

    def deadly(self: Any, name: str, content: Any) -> None:
        nonlocal writes
        writes += 1
        if writes >= write and (before or writes > write):
            raise Killed
        real(self, name, content)
        if writes == write:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(kind, "write", deadly)
        run(output, RECORDS, format="jsonl")
    run(output, RECORDS, format="jsonl", resume=True)
    assert joined(output) == whole(tmp_path, "jsonl")


def test_shards_side_by_side(output: Path, tmp_path: Path) -> None:
    for index, records in enumerate((RECORDS[:5], RECORDS[5:11], RECORDS[11:]), 1):
        run(output, records, format="csv", shard=Shard(index, 3))
    assert joined(output) == whole(tmp_path, "csv")
    assert "part-00002-of-00003-00001.csv" in open_folder(output).names()


def test_an_earlier_run_is_not_mixed_up(output: Path) -> None:
    run(output, RECORDS, format="jsonl")
    with pytest.raises(UsageError, match="holds parts of an earlier run"):
        run(output, RECORDS, format="jsonl")
    with pytest.raises(UsageError, match="other records"):
        run(output, RECORDS[1:], format="jsonl", resume=True)
    with pytest.raises(UsageError, match="other records"):
        run(output, RECORDS[:3], format="jsonl", resume=True)
    run(output, RECORDS[:3], format="jsonl", overwrite=True)
    assert len(joined(output).splitlines()) == 3


def test_a_folder_of_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.png").touch()
    with pytest.raises(UsageError, match=r"holds other files: photo\.png"):
        run(tmp_path, RECORDS, format="jsonl")


def test_two_runs_at_once(tmp_path: Path) -> None:
    with (
        open_writer(RecordSettings(output=tmp_path, format="jsonl"), DetectFormatter()),
        pytest.raises(Busy),
    ):
        run(tmp_path, RECORDS, format="jsonl")


@pytest.mark.parametrize("format", ["html", "json", "table"])
def test_a_document_has_no_parts(output: Path, format: str) -> None:
    with pytest.raises(UsageError, match="cannot be written in parts"):
        run(output, RECORDS, format=format)


def test_an_address_that_cannot_be_written_to() -> None:
    with pytest.raises(UsageError, match="cannot be written to"):
        run(Path("https://example.org/out.jsonl"), RECORDS)


def test_a_condition_keeps_the_same_records(output: Path, tmp_path: Path) -> None:
    where = condition("clip_score > 0.506")
    run(output, RECORDS, format="jsonl", where=where)
    run(tmp_path / "kept.jsonl", RECORDS, where=where)
    assert joined(output) == (tmp_path / "kept.jsonl").read_bytes()
    assert len(joined(output).splitlines()) == 4


def test_a_store_that_fails_now_and_then(memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = type(memory).put_file, 0

    def faulty(*args: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls % 2:
            raise OSError("503 Slow Down")
        return real(*args, **more)

    monkeypatch.setattr(type(memory), "put_file", faulty)
    run(Path("memory://bucket/out"), RECORDS, format="jsonl")
    assert joined(Path("memory://bucket/out")) == whole(tmp_path, "jsonl")
    monkeypatch.setattr(type(memory), "put_file", lambda *args, **more: (_ for _ in ()).throw(OSError("503")))
    with pytest.raises(OutputError, match="cannot be written: 503, 6 times"):
        run(Path("memory://bucket/other"), RECORDS, format="jsonl")


def test_tars_end_at_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are read once more, and only those that are kept."""
    monkeypatch.setattr(parts, "PART_BYTES", 3_000)
    read: list[str] = []

    def picture(name: str) -> bytes:
        read.append(name)
        return b"\xff\xd8\xff" + name.encode() * 100

    def pictures() -> Iterator[Callable[[], bytes]]:
        yield from (partial(picture, record.id) for record in RECORDS)

    def write(writer: ResultWriter, stop: int) -> None:
        with writer:
            writer.begin(PROVENANCE, pictures=pictures)
            for number, record in enumerate(writer.remaining(RECORDS)):
                if number == stop:
                    raise KeyboardInterrupt
                writer.write(finished(record))

    settings: dict[str, Any] = {"output": tmp_path, "format": "tar", "where": condition("clip_score > 0.502")}
    with pytest.raises(KeyboardInterrupt):
        write(open_writer(RecordSettings(**settings), DetectFormatter()), 6)
    write(open_writer(RecordSettings(**settings, resume=True), DetectFormatter()), 100)
    found = []
    for name in sorted(tmp_path.glob("part-*.tar")):
        with tarfile.open(fileobj=BytesIO(name.read_bytes())) as tar:
            found += [json.loads(tar.extractfile(one).read())["id"] for one in tar if one.name.endswith("json")]  # type: ignore[union-attr]
    expected = [record.id for number, record in enumerate(RECORDS) if number > 2 and number % 5 != 4]
    assert found == read == expected
    assert len(list(tmp_path.glob("part-*.tar"))) > 2
