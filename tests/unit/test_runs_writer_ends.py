"""A full disk, Ctrl-C, an error in between: what is kept, and what is said."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from clipalign.errors import OutputError
from clipalign.files import write_failed
from clipalign.output.console import notices
from clipalign.runs import log as appended
from tests.records import FORMATS, RECORDS, kept_in, run, whole

pytestmark = pytest.mark.usefixtures("fresh_notices")


class _FullDisk:
    """A disk with room for so many bytes."""

    def __init__(self, room: int) -> None:
        self.room = room

    def write_all(self, stream: Any, data: bytes) -> None:
        taken = data[: self.room]
        self.room -= len(taken)
        stream.write(taken)
        if len(taken) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("format", FORMATS)
def test_a_full_disk_loses_nothing_and_says_how_to_go_on(
    tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out"
    kept = kept_in(path, format)
    for room in (0, 700, 5000):
        with monkeypatch.context() as patch:
            patch.setattr(appended, "write_all", _FullDisk(room).write_all)
            with pytest.raises(OutputError, match="the disk is full") as caught:
                run(path, RECORDS, format=format)
        records = 0
        if kept.exists():
            data = kept.read_bytes()
            assert data == b"" or data.endswith(b"\n")
            records = data.count(b"\n")
        safe = f"{records} {'pair is' if records == 1 else 'pairs are'} safe in {kept}; --resume goes on from there"
        assert caught.value.hint == (
            f"free some space; {safe}" if records > 0 else "free some space there, or give another --output"
        )
        run(path, RECORDS, format=format, resume=True)
        assert path.read_bytes() == whole(tmp_path, format)
        path.unlink()
        (tmp_path / f"whole.{format}").unlink()


def test_a_full_disk_at_the_end_leaves_the_old_document_and_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.html"
    path.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("clipalign.files.os.fsync", full)
        with pytest.raises(OutputError, match="the disk is full") as caught:
            run(path, RECORDS, overwrite=True)
    assert "12 pairs are safe in" in caught.value.hint
    assert path.read_text() == "old"
    run(path, RECORDS, resume=True)
    assert path.read_bytes() == whole(tmp_path, "html")


def test_ctrl_c_leaves_a_hint(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out.jsonl", RECORDS, stop_after=5)
    assert notices.kept == f"5 pairs are safe in {tmp_path / 'out.jsonl'}; --resume goes on from there"


def test_an_error_in_between_leaves_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(MemoryError):
        run(tmp_path / "out.jsonl", RECORDS, stop_after=1, error=MemoryError)
    assert "1 pair is safe in" in capsys.readouterr().err


def test_ctrl_c_in_the_middle_of_a_write_leaves_whole_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(stream: Any, data: bytes) -> None:
        stream.write(data[: len(data) // 2])
        raise KeyboardInterrupt

    path = tmp_path / "out.jsonl"
    run(path, RECORDS[:3])
    before = path.read_bytes()
    monkeypatch.setattr(appended, "write_all", half)
    with pytest.raises(KeyboardInterrupt):
        run(path, RECORDS, resume=True)
    assert path.read_bytes() == before


def test_room_is_to_be_made_only_where_room_is_the_trouble() -> None:
    full = write_failed("out.csv", OSError(errno.ENOSPC, "No space left on device"))
    closed = write_failed("out.csv", OSError(errno.EACCES, "Permission denied"))
    assert full.hint == "free some space there, or give another --output"
    assert (closed.message, closed.hint) == ("out.csv cannot be written: Permission denied", "give another --output")
