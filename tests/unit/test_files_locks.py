"""One process at a time on one file, and no lock left behind by one that was killed."""

from __future__ import annotations

import errno
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipalign import files as locks
from clipalign.errors import Busy
from clipalign.files import exclusive

HOLDER = """
import sys, time
from clipalign.files import exclusive
with exclusive(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds ``tmp_path/file``."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "file")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_process_is_refused_and_told_which_file(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    with pytest.raises(Busy, match=r"another clipalign is at work on .*file") as caught, exclusive(tmp_path / "file"):
        pytest.fail("held twice")
    assert caught.value.exit_status == 2 and caught.value.input == str(tmp_path / "file")


def test_the_lock_of_a_killed_process_is_free(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with exclusive(tmp_path / "file"):
        pass


def test_waiting_is_told_once_and_ends_when_the_other_does(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    told = []

    def end_the_other() -> None:
        told.append(1)
        holder.kill()

    with exclusive(tmp_path / "file", wait_seconds=10, on_wait=end_the_other):
        assert told == [1]


def test_two_opens_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    with exclusive(tmp_path / "file"), pytest.raises(Busy, match="at work"), exclusive(tmp_path / "file"):
        pytest.fail("held twice")


def test_the_file_and_what_is_in_it_stay(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("{}\n")
    with exclusive(path):
        path.write_text("{}\n{}\n")
    assert path.read_text() == "{}\n{}\n"


def test_a_file_that_is_only_a_lock_is_removed(tmp_path: Path) -> None:
    with exclusive(tmp_path / "x.lock", remove=True):
        assert (tmp_path / "x.lock").exists()
    assert not (tmp_path / "x.lock").exists()


def test_a_file_deleted_by_its_last_holder_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, lock, deleted = tmp_path / "x.lock", locks._lock, list[Path]()

    def lock_what_is_gone(handle: int) -> None:
        if not deleted:
            path.unlink()
            deleted.append(path)
        lock(handle)

    monkeypatch.setattr(locks, "_lock", lock_what_is_gone)
    with exclusive(path):
        assert path.exists()


def test_an_error_inside_lets_go(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="inside"), exclusive(tmp_path / "file"):
        raise ValueError("inside")
    with exclusive(tmp_path / "file"):
        pass


posix = pytest.mark.skipif(sys.platform == "win32", reason="flock is not Windows'")


@posix
@pytest.mark.parametrize("code", ["ENOLCK", "ENOSYS", "EOPNOTSUPP", "EINVAL", "EIO", "ESTALE", "EBADF", "EPERM"])
def test_a_lock_that_fails_is_told_once_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: str
) -> None:
    _let_flock_fail(monkeypatch, code)
    for _ in range(2):
        with exclusive(tmp_path / "file", wait_seconds=math.inf, on_wait=lambda: pytest.fail("waits")):
            pass
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'file'} cannot be locked ({os.strerror(getattr(errno, code))}); "
        "nothing keeps a second run from it"
    ]


@posix
@pytest.mark.parametrize("code", ["EWOULDBLOCK", "EAGAIN", "EACCES"])
def test_a_lock_that_is_held_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    _let_flock_fail(monkeypatch, code)
    with pytest.raises(Busy), exclusive(tmp_path / "file"):
        pass


def _let_flock_fail(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    number = getattr(errno, code)

    def refuse(handle: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locks, "_told", set())
    monkeypatch.setattr("fcntl.flock", refuse)


@posix
@pytest.mark.parametrize("code", ["EACCES", "EPERM", "EROFS"])
def test_another_user_s_lock_is_opened_to_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    number, opened = getattr(errno, code), os.open

    def refuse_writing(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_RDWR:
            raise OSError(number, os.strerror(number), str(path))
        return opened(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse_writing)
    with pytest.raises(OSError, match=os.strerror(number)), exclusive(tmp_path / "file"):
        pass
    (tmp_path / "file").touch()
    with exclusive(tmp_path / "file"), pytest.raises(Busy), exclusive(tmp_path / "file"):
        pass


@posix
def test_a_link_is_no_lock_and_nothing_is_made_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to("elsewhere")
    with pytest.raises(OSError, match="symbolic links"), exclusive(tmp_path / "lock"):
        pass
    assert not (tmp_path / "elsewhere").exists()


@posix
def test_a_lock_that_is_deleted_again_and_again_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_is_still", lambda path, handle: False)
    with pytest.raises(Busy), exclusive(tmp_path / "file"):
        pass
