"""Files and folders: what lies at a path, files that appear whole or not at all, locks, and failures to write.

A file is written beside its place as ``.clipalign-NAME-TOKEN.part`` and renamed. A killed process leaves the part: the
holder of the folder's lock removes it with :func:`remove_leftovers`, and every write removes those beside it that are
older than an hour.

The kernel releases a lock when its process dies. It holds between processes and between two opens in one process;
nothing is written into the locked file. Only a lock held by another is waited for: if locking fails for any other
reason (as on some network drives), the work goes on without it with one warning, as atomic renames guard the data.
"""

from __future__ import annotations

import errno
import glob
import logging
import os
import re
import shutil
import stat
import sys
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from clipalign.errors import DISK_FULL, Busy, OutputError, UsageError, unwritable

# --- what lies at a path ---

MAX_TEXT_BYTES: Final = 64_000_000
"""Largest file of labels, descriptions, templates or a long text, which is read as a whole."""


def is_file(path: Path) -> bool:
    """Return whether it is a file; False for invalid names and in unreadable folders."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def read_package_rows(name: str) -> list[dict[str, Any]]:
    """Read the one array of tables in the TOML file ``name`` of this package, lists as tuples."""
    (rows,) = tomllib.loads((Path(__file__).parent / name).read_text(encoding="utf-8")).values()
    return [_with_tuples(row) for row in rows]


def _with_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_tuples(inner) for key, inner in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


def address_in(path: Path) -> str:
    """Return the address that a path was made of, ``s3://bucket/x`` of ``s3:/bucket/x``; empty for a real path."""
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/(?=[^/])", path.as_posix())
    return f"{found[1]}://{path.as_posix()[found.end() :]}" if found else ""


def is_special(path: Path) -> bool:
    try:
        mode = path.expanduser().stat().st_mode
    except (OSError, ValueError, RuntimeError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def open_plain(path: Path) -> BinaryIO:
    """Open a file for reading; a device, socket or named pipe, which could block forever, raises ``OSError``.

    A pipe from a shell's ``<(command)`` is allowed.
    """
    given = str(path).startswith(("/dev/fd/", "/proc/self/fd/")) or str(path) == "/dev/stdin"
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or (given and stat.S_ISFIFO(mode))):
        raise OSError(errno.EINVAL, "it is a device, a pipe or a socket, not a file")
    # Should it become a pipe meanwhile, opening it waits for nobody.
    without_waiting = 0 if given else getattr(os, "O_NONBLOCK", 0)
    return os.fdopen(os.open(path, os.O_RDONLY | without_waiting | getattr(os, "O_BINARY", 0)), "rb")


def read_text_bytes(path: Path, most_bytes: int = MAX_TEXT_BYTES) -> bytes:
    """Read a whole file as :func:`open_plain`; raise ``OSError`` for more than ``most_bytes``."""
    with open_plain(path) as stream:
        return read_to_end(stream, most_bytes)


def read_to_end(stream: BinaryIO, most_bytes: int = MAX_TEXT_BYTES) -> bytes:
    content = stream.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"it is longer than {most_bytes / 1_000_000:g} MB")
    return content


def open_special(path: Path, name: str) -> BinaryIO:
    """Open a pipe or a device for writing without waiting for a reader; raise ``UsageError`` if there is none."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
    except OSError as error:
        if error.errno == errno.ENXIO:
            message = f"--output {name} is a pipe that nobody reads"
            raise UsageError(message, hint="start its reader first", input=name) from None
        raise write_failed(name, error) from error
    if hasattr(os, "set_blocking"):
        os.set_blocking(handle, True)
    return cast(BinaryIO, os.fdopen(handle, "ab", buffering=0))


# --- files that appear whole or not at all ---

_PART_PREFIX: Final = ".clipalign-"
"""A distinctive prefix, as parts may be in a folder of the user's."""

_NAME_CHARACTERS: Final = 40

_STALE_SECONDS: Final = 3600.0
"""Age of a part that no process can still be writing."""


@contextmanager
def replacing(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Yield an empty file that replaces ``path`` when the block succeeds.

    ``sync`` flushes the content to the disk before the rename, so that a power failure leaves no torn file. On
    ``OSError`` ``path`` is unchanged.
    """
    remove_leftovers(path.parent, min_age_seconds=_STALE_SECONDS)
    part = part_beside(path)
    try:
        part.touch(exist_ok=False)
        mode = stat.S_IMODE(part.stat().st_mode)
        yield part
        part.chmod(mode)  # safetensors gives its files other permissions than new files have here
        if sync:
            with part.open("r+b") as stream:
                sync_file(stream.fileno())
        part.replace(path)
    except BaseException as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename == str(part):
            error.filename = str(path)
        raise


def part_beside(path: Path) -> Path:
    return path.with_name(f"{_part_prefix(path.name)}{os.urandom(4).hex()}.part")


def is_part(name: str) -> bool:
    """Return whether a killed process may have left a file of this name."""
    return name.startswith(_PART_PREFIX) and name.endswith(".part")


def write_whole(path: Path, content: bytes | Iterable[bytes], *, sync: bool = True) -> None:
    """Write a file whole or not at all, as :func:`replacing`."""
    with replacing(path, sync=sync) as part, part.open("wb") as stream:
        stream.writelines([content] if isinstance(content, bytes) else content)


def write_all(stream: BinaryIO, data: bytes) -> None:
    """Write all of ``data`` to an unbuffered stream, which may write less at once."""
    rest = memoryview(data)
    while rest:
        rest = rest[stream.write(rest) or 0 :]


def sync_file(handle: int) -> None:
    """Flush an open file to the disk; some file systems raise ``OSError`` for a full disk only here."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that does not know how
            raise


def remove_leftovers(folder: Path, name: str = "", *, min_age_seconds: float = 0.0) -> None:
    """Remove the parts that killed processes left in ``folder``, of the file ``name`` or of all.

    The caller holds the folder's lock, or gives a ``min_age_seconds`` that excludes parts in use.
    """
    for part in folder.glob(f"{glob.escape(_part_prefix(name))}*.part"):
        with suppress(OSError):  # another process was quicker, or it is another user's
            if time.time() - part.stat().st_mtime >= min_age_seconds:
                shutil.rmtree(part) if part.is_dir() else part.unlink()


def _part_prefix(name: str) -> str:
    return f"{_PART_PREFIX}{name[:_NAME_CHARACTERS]}-" if name else _PART_PREFIX


def write_failed(name: str, error: OSError, *, kept: str = "", hint: str = "give another --output") -> OutputError:
    """Return the error for a file that cannot be written; ``kept`` says what is safe and how to resume, or is empty."""
    full = error.errno in DISK_FULL
    reason = "the disk is full" if full else error.strerror or str(error)
    if kept:
        hint = f"{'free some space' if full else 'make it writable'}; {kept}"
    elif full:
        hint = f"free some space there, or {hint}"
    return unwritable(error)(f"{name} cannot be written: {reason}", hint=hint, input=name)


@contextmanager
def writing(
    path: str | Path, *, inside: bool = False, kept: Callable[[], str] = lambda: "", hint: str = "give another --output"
) -> Iterator[None]:
    """Turn an ``OSError`` of the block into :func:`write_failed`; ``inside`` the folder ``path`` it names the file."""
    try:
        yield
    except OSError as error:
        raise write_failed(str((inside and error.filename) or path), error, kept=kept(), hint=hint) from error


# --- locks ---

_ASK_AGAIN_SECONDS: Final = 0.05
_FAR_BEYOND: Final = 0x7FFF_FFFF_0000
"""Windows' locks prevent reading, so a byte beyond any file's end is locked."""

_HELD: Final = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK}
"""Error codes for a lock that another holds; Windows uses the last two."""

_NOT_OURS: Final = {errno.EACCES, errno.EPERM, errno.EROFS}
_DELETED_AGAIN: Final = 100
"""Attempts at opening a lock that is being deleted before it counts as held."""

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
    """Hold a lock on ``path`` while the block runs, creating an empty file if missing.

    Args:
        path: the file itself, or one beside it if the file will be replaced while the lock is held.
        on_wait: called once, when waiting begins.
        remove: delete the file before releasing the lock; for files that are nothing but locks.
        hint: of the error; what to do besides waiting.

    Raises:
        Busy: another process still holds it after ``wait_seconds``.
        OSError: the file cannot be opened or created.
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
    """Open and lock the file, anew if it was deleted meanwhile; return None if another holds the lock."""
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
    """Open or create the file without following a link; open another user's for reading."""
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
    """Return whether the lock is ours, or locking is impossible; False if another holds it."""
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
    """Return whether ``path`` is the opened file, which its last holder may have deleted."""
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
