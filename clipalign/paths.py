"""Whether something lies at a path, without an error where the system cannot even look."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO, Final

MAX_TEXT_BYTES: Final = 64_000_000
"""Of a file of labels, descriptions, templates or a long text, which is read as a whole."""


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name that no file can have is of none, and a closed folder holds none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether there is such a folder, likewise."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def is_special(path: Path) -> bool:
    """Whether it is a device, a pipe or a socket; what is not there is nothing special."""
    try:
        mode = path.expanduser().stat().st_mode
    except (OSError, ValueError, RuntimeError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def open_plain(path: Path) -> BinaryIO:
    """Open a file to be read, and nothing that could be waited for without end.

    A name in a list or folder may be a device, a socket or a named pipe; those are refused. What a shell makes of
    ``<(command)`` is a pipe too, and the user's own.

    Raises:
        OSError: as ``open`` does, and for what is no plain file.
    """
    given = str(path).startswith(("/dev/fd/", "/proc/self/fd/")) or str(path) == "/dev/stdin"
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or (given and stat.S_ISFIFO(mode))):
        raise OSError(errno.EINVAL, "it is a device, a pipe or a socket, not a file")
    # Should it become a pipe meanwhile, opening it waits for nobody.
    without_waiting = 0 if given else getattr(os, "O_NONBLOCK", 0)
    return os.fdopen(os.open(path, os.O_RDONLY | without_waiting | getattr(os, "O_BINARY", 0)), "rb")


def read_text_bytes(path: Path) -> bytes:
    """A whole text file.

    Raises:
        OSError: as :func:`open_plain`, and for more than :data:`MAX_TEXT_BYTES`.
    """
    with open_plain(path) as stream:
        content = stream.read(MAX_TEXT_BYTES + 1)
    if len(content) > MAX_TEXT_BYTES:
        raise OSError(errno.EFBIG, f"it is longer than {MAX_TEXT_BYTES // 1_000_000} MB, too long for a text file")
    return content
