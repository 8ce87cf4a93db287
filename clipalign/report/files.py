"""Results in files: whole documents that appear in one step or not at all, and what is said when there is no room."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast

from clipalign.errors import DISK_FULL, OutputError, UsageError, unwritable
from clipalign.paths import is_special
from clipalign.report.console import shown_on_terminal


def output_error(name: str, error: OSError) -> OutputError:
    """A write that failed, as a sentence."""
    reason = "the disk is full" if error.errno in DISK_FULL else error.strerror or str(error)
    hint = f"{'make room there, or ' if error.errno in DISK_FULL else ''}give another --output"
    return unwritable(error)(f"{name} cannot be written: {reason}", hint=hint, input=name)


def open_special(path: Path, name: str) -> BinaryIO:
    """A pipe or a device, to be written; one that nobody reads is not waited for.

    Raises:
        UsageError: nobody reads the pipe.
        OutputError: it cannot be opened.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
    except OSError as error:
        if error.errno == errno.ENXIO:
            message = f"--output {name} is a pipe that nobody reads"
            raise UsageError(message, hint="start its reader first", input=name) from None
        raise output_error(name, error) from error
    if hasattr(os, "set_blocking"):
        os.set_blocking(handle, True)
    return cast(BinaryIO, os.fdopen(handle, "ab", buffering=0))


def replace_file(path: Path, parts: Iterable[bytes], *, name: str) -> None:
    """Write ``parts`` beside ``path`` and put them in its place in one step.

    Raises:
        OutputError: they cannot be written, as on a full disk; ``path`` is as it was.
    """
    beside = path.with_name(f".{path.name}.part")
    try:
        with beside.open("wb") as stream:
            for part in parts:
                stream.write(part)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
    except BaseException as error:
        with suppress(OSError):
            beside.unlink()
        if isinstance(error, OSError):
            raise output_error(name, error) from error
        raise


def write_document(path: Path, content: bytes, *, overwrite: bool) -> None:
    """One document into a file, or into whatever else ``path`` names.

    Raises:
        UsageError: the file exists and ``overwrite`` is not set, or it cannot be one.
        OutputError: it cannot be written.
    """
    name = str(path)
    try:
        if is_special(path):
            with open_special(path, name) as stream, open(stream.fileno(), "wb", closefd=False) as buffered:
                buffered.write(shown_on_terminal(content).encode() if stream.isatty() else content)
            return
        target = path.resolve()
        if target.is_dir():
            raise UsageError(f"--output {name} is a folder", hint="name a file in it", input=name)
        if target.exists() and not overwrite:
            raise UsageError(f"--output {name} exists already", hint="--overwrite makes it anew", input=name)
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, OSError):
            raise output_error(name, error) from error
        raise UsageError(f"--output {name} cannot be used: {error}", input=name) from error
    replace_file(target, [content], name=name)
