"""One process at a time on one file: a lock that the kernel lets go of when its process dies, however it dies.

Nothing is written into the locked file and nothing has to be tidied up after a crash. Locks hold between processes and
between two opens in one process. Only a lock that another holds is waited for: where one fails for any other reason
(network drives that know none, a server that does not answer), the work goes on without and says so once, for a lock
guards against a slip, and the atomic renames elsewhere guard the data.
"""

from __future__ import annotations

import errno
import logging
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
"""What systems, and network drives, say of a lock that another has; Windows says the last two."""

_NOT_OURS: Final = {errno.EACCES, errno.EPERM, errno.EROFS}
_DELETED_AGAIN: Final = 100
"""How often a lock may be deleted under our hands before it counts as another's."""

_told: set[str] = set()


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
            with suppress(OSError):  # another user's, which stays
                path.unlink(missing_ok=True)
        _release(handle)
        if remove and sys.platform == "win32":
            with suppress(OSError):  # the next one has it open already
                path.unlink(missing_ok=True)


def _try(path: Path) -> int | None:
    """An open, locked file, a new one where it was deleted under our hands; None where another has the lock."""
    for _ in range(_DELETED_AGAIN):
        handle = _open(path)
        try:
            locked = _locked(path, handle)
            if locked and _is_still(path, handle):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
        if not locked:
            return None
    return None


def _open(path: Path) -> int:
    """The file, made where there is none, and never one elsewhere that a link leads to; another user's to be read."""
    careful = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | careful, 0o666)
    except OSError as error:
        if error.errno not in _NOT_OURS:
            raise
        try:
            return os.open(path, os.O_RDONLY | careful)
        except OSError:
            raise error from None


def _locked(path: Path, handle: int) -> bool:
    """Whether the lock is ours, or there can be none; False where another has it."""
    try:
        _lock(handle)
    except OSError as error:
        if error.errno in _HELD:
            return False
        reason = error.strerror or str(error)
        if reason not in _told:
            _told.add(reason)
            log = logging.getLogger(__name__)
            log.warning("%s cannot be locked (%s); nothing keeps a second run from it", path, reason)
    return True


def _is_still(path: Path, handle: int) -> bool:
    """Whether ``path`` names the file that was opened: its last holder may have deleted it in between."""
    try:
        there, ours = path.stat(), os.fstat(handle)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):
            return False
        raise
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        os.lseek(handle, _FAR_BEYOND, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

    def _release(handle: int) -> None:
        os.lseek(handle, _FAR_BEYOND, os.SEEK_SET)
        with suppress(OSError):  # there was none
            msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)
        os.close(handle)

else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _release(handle: int) -> None:
        os.close(handle)  # and with it the lock
