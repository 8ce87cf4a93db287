"""One process at a time on one file, and no lock left behind by one that was killed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from clipalign import locks
from clipalign.errors import Busy
from clipalign.locks import exclusive

HOLDER = """
import sys, time
from clipalign.locks import exclusive
with exclusive(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path):
    """A process that holds ``tmp_path/file``."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "file")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_process_is_refused_and_told_which_file(holder: subprocess.Popen[str], tmp_path: Path):
    with pytest.raises(Busy, match=r"another clipalign is at work on .*file") as caught, exclusive(tmp_path / "file"):
        pytest.fail("held twice")
    assert caught.value.exit_status == 2 and caught.value.input == str(tmp_path / "file")


def test_the_lock_of_a_killed_process_is_free(holder: subprocess.Popen[str], tmp_path: Path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with exclusive(tmp_path / "file"):
        pass


def test_waiting_is_told_once_and_ends_when_the_other_does(holder: subprocess.Popen[str], tmp_path: Path):
    told = []

    def end_the_other() -> None:
        told.append(1)
        holder.kill()

    with exclusive(tmp_path / "file", wait_seconds=10, on_wait=end_the_other):
        assert told == [1]


def test_two_opens_of_one_process_exclude_each_other(tmp_path: Path):
    with exclusive(tmp_path / "file"), pytest.raises(Busy, match="at work"), exclusive(tmp_path / "file"):
        pytest.fail("held twice")


def test_the_file_and_what_is_in_it_stay(tmp_path: Path):
    path = tmp_path / "out.jsonl"
    path.write_text("{}\n")
    with exclusive(path):
        path.write_text("{}\n{}\n")
    assert path.read_text() == "{}\n{}\n"


def test_a_file_that_is_only_a_lock_is_removed(tmp_path: Path):
    with exclusive(tmp_path / "x.lock", remove=True):
        assert (tmp_path / "x.lock").exists()
    assert not (tmp_path / "x.lock").exists()


def test_a_file_deleted_by_its_last_holder_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, lock, deleted = tmp_path / "x.lock", locks._lock, []

    def lock_what_is_gone(handle: int) -> bool:
        if not deleted:
            deleted.append(path.unlink())
        return lock(handle)

    monkeypatch.setattr(locks, "_lock", lock_what_is_gone)
    with exclusive(path):
        assert path.exists()


def test_an_error_inside_lets_go(tmp_path: Path):
    with pytest.raises(ValueError, match="inside"), exclusive(tmp_path / "file"):
        raise ValueError("inside")
    with exclusive(tmp_path / "file"):
        pass


_HELD = ("EWOULDBLOCK", "EAGAIN", "EACCES")


@pytest.mark.skipif(sys.platform == "win32", reason="flock is not Windows'")
@pytest.mark.parametrize("name", sorted(set(errno.errorcode.values()) - {"EINTR", "EDEADLK", "EDEADLOCK"}))
def test_only_what_is_held_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Network file systems refuse locks with many errors, and none of them ends by waiting."""
    import fcntl

    def refuse(handle: int, operation: int) -> None:
        raise OSError(getattr(errno, name), name)

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(Busy) if name in _HELD else nullcontext(), exclusive(tmp_path / "file"):
        pass


def test_a_file_system_that_numbers_files_anew_is_no_endless_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "_is_still", lambda *_: False)
    with exclusive(tmp_path / "file"):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="no such rights there")
def test_a_lock_file_of_another_user_is_locked_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "file"
    place.touch()
    real = os.open

    def closed(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", closed)
    with exclusive(place), pytest.raises(Busy), exclusive(place):
        pass
    with pytest.raises(OSError, match="No such file"), exclusive(tmp_path / "new"):
        pass
