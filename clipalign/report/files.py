"""Results in files: whole documents that appear in one step or not at all, and what is said when there is no room."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from clipalign.errors import DISK_FULL, OutputError, UsageError


def output_error(name: str, error: OSError) -> OutputError:
    """A write that failed, as a sentence."""
    reason = "the disk is full" if error.errno in DISK_FULL else error.strerror or str(error)
    hint = f"{'make room there, or ' if error.errno in DISK_FULL else ''}give another --output"
    return OutputError(f"{name} cannot be written: {reason}", hint=hint, input=name)


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
        target = path.resolve()
        if target.is_dir():
            raise UsageError(f"--output {name} is a folder", hint="name a file in it", input=name)
        if target.exists() and not target.is_file():
            target.open("ab", buffering=0).write(content)
            return
        if target.exists() and not overwrite:
            raise UsageError(f"--output {name} exists already", hint="--overwrite makes it anew", input=name)
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, OSError):
            raise output_error(name, error) from error
        raise UsageError(f"--output {name} cannot be used: {error}", input=name) from error
    replace_file(target, [content], name=name)
