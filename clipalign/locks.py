"""One process at a time on one file: a lock that the kernel lets go of when its process dies, however it dies.

Nothing is written into the locked file and nothing has to be tidied up after a crash. Locks hold between processes and
between two opens in one process. Where a file system knows no locks (some network drives), there is none, and the work
goes on: a lock guards against a slip, the atomic renames elsewhere guard the data.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from clipalign.errors import Busy

_ASK_AGAIN_SECONDS: Final = 0.05
_FAR_BEYOND: Final = 0x7FFF_FFFF_0000
"""Windows' locks keep others from reading what is locked: a byte that no file reaches is locked instead of the data."""

_HELD: Final = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK}
"""What asking for a lock fails with where another holds it. Anything else (network file systems have many) means that
there are no locks here: waiting would have no end."""

_TRIES: Final = 100
"""After as many deleted files in a row, or on a file system that numbers files anew, the lock at hand will do."""


@contextmanager
def exclusive(
    path: str | Path,
    *,
    wait_seconds: float = 0.0,
    on_wait: Callable[[], None] | None = None,
    remove: bool = False,
    hint: str = "",
) -> Iterator[None]:
    """Hold ``path`` alone while the block runs; an empty file is made where there is none.

    Args:
        path: the file itself, or one beside it where the file will be replaced while the lock is held.
        wait_seconds: how long to wait for another process, at least 0.
        on_wait: called once, when waiting begins.
        remove: delete the file before the lock is let go; for files that are nothing but locks.
        hint: of the error; what to do besides waiting.

    Raises:
        Busy: another process holds it still.
        OSError: the file cannot be opened or made.
    """
    path = Path(path)
    until = time.monotonic() + wait_seconds
    waiting = False
    while (handle := _try(path)) is None:
        if time.monotonic() >= until:
            raise Busy(
                f"another clipalign is at work on {path}", hint=hint or "wait until it has ended", input=str(path)
            )
        if on_wait is not None and not waiting:
            on_wait()
        waiting = True
        time.sleep(_ASK_AGAIN_SECONDS)
    try:
        yield
    finally:
        if remove and sys.platform != "win32":  # Windows does not delete what is open
            path.unlink(missing_ok=True)
        _release(handle)
        if remove and sys.platform == "win32":
            with suppress(OSError):  # the next one has it open already
                path.unlink(missing_ok=True)


def _try(path: Path) -> int | None:
    """An open, locked file, a new one where it was deleted under our hands; None where another has the lock."""
    for number in range(_TRIES):
        handle = _open(path)
        try:
            locked = _lock(handle)
            if locked and (number == _TRIES - 1 or _is_still(path, handle)):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
        if not locked:
            break
    return None


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:
        return os.open(path, os.O_RDONLY)  # another user's, in a shared cache: it can be locked all the same


def _is_still(path: Path, handle: int) -> bool:
    """Whether ``path`` names the file that was opened: its last holder may have deleted it in between."""
    try:
        there, ours = path.stat(), os.fstat(handle)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> bool:
        os.lseek(handle, _FAR_BEYOND, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            return error.errno not in _HELD
        return True

    def _release(handle: int) -> None:
        os.lseek(handle, _FAR_BEYOND, os.SEEK_SET)
        with suppress(OSError):  # there was none
            msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)
        os.close(handle)

else:
    import fcntl

    def _lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno not in _HELD
        return True

    def _release(handle: int) -> None:
        os.close(handle)  # and with it the lock
