"""The folder of a run: ``run.json`` what was asked, ``samples.jsonl`` a line a sample, ``result.json`` what came out.

Lines are appended as samples are scored. A run that ended early is taken up again at the last chunk that is whole: a
torn line, and what was scored of an unfinished chunk, is cut off and scored anew, so that the numbers are those of one
uninterrupted run. Nothing here knows what a sample is about.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson

from clipalign.errors import UsageError
from clipalign.locks import exclusive
from clipalign.report.json import encode

RUN_FILE: Final = "run.json"
SAMPLES_FILE: Final = "samples.jsonl"
RESULT_FILE: Final = "result.json"
LOCK_FILE: Final = ".lock"

DISK_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
"""What a write may end with; such an error names no file."""

_MAY_DIFFER: Final = ("versions", "notes", "limit")
"""Between a run and its resumption: libraries may have been updated, and a limit only shortens."""


class SampleRecords:
    """Records of earlier samples to be read, records of later ones to be written; without a folder, neither."""

    def __init__(self, file: BinaryIO | None = None, kept: Iterator[dict[str, Any]] | None = None, count: int = 0):
        self._file = file
        self._kept = kept
        self.kept_count = count
        """Samples that need not be scored again: a multiple of the chunk."""

    def take(self, count: int) -> list[dict[str, Any]]:
        """The next ``count`` records of the earlier run."""
        return [] if self._kept is None else [next(self._kept) for _ in range(count)]

    def write(self, records: Sequence[dict[str, Any]]) -> None:
        """Append records, and hand them to the system."""
        if self._file is not None:
            self._file.write(b"".join(encode(record) for record in records))
            self._file.flush()


@contextmanager
def open_records(
    folder: Path | None, header: dict[str, Any], *, chunk: int, resume: bool, overwrite: bool
) -> Iterator[SampleRecords]:
    """The records of a run into ``folder``, which no other process works on meanwhile.

    Args:
        folder: made where it is missing; None for a run that leaves nothing.
        header: data set, model, settings and provenance of this run.
        chunk: samples that were scored together.
        resume: go on with what is there.
        overwrite: throw away what is there.

    Raises:
        UsageError: the folder cannot be written, holds a run and neither was asked for, or holds another run.
        Busy: another process is at work there.
        OSError: the disk is full.
    """
    if folder is None:
        yield SampleRecords()
        return
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(exclusive(folder / LOCK_FILE, remove=True))
            samples = folder / SAMPLES_FILE
            there = samples.exists() and samples.stat().st_size > 0
            count, end = 0, 0
            if there and resume:
                _check_header(folder, header)
                count, end = _whole_records(samples, chunk)
            elif there and not overwrite:
                hint = "--resume goes on with it, --overwrite starts anew"
                raise UsageError(f"{folder} already holds the records of a run", hint=hint, input=str(folder))
            (folder / RESULT_FILE).unlink(missing_ok=True)
            if not (there and resume):
                write_whole(folder / RUN_FILE, encode(header, indent=True))
            file = stack.enter_context(samples.open("r+b" if count else "wb"))
            file.truncate(end)
            file.seek(end)
        except OSError as error:
            if error.errno in DISK_FULL:
                raise
            raise UsageError(f"{folder} cannot be written: {error.strerror}", input=str(folder)) from None
        yield SampleRecords(file, _records(samples, count), count)


def write_whole(path: Path, content: bytes) -> None:
    """The file is there as a whole, or as it was."""
    beside = path.with_name(f".{path.name}.part")
    beside.write_bytes(content)
    beside.replace(path)


def _whole_records(path: Path, chunk: int) -> tuple[int, int]:
    """Records that make whole chunks, from the beginning, and where they end in the file."""
    count, position, end, complete = 0, 0, 0, 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n") or _record(line) is None:
                break
            count += 1
            position += len(line)
            if count % chunk == 0:
                complete, end = count, position
    return complete, end


def _records(path: Path, count: int) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for _, line in zip(range(count), file, strict=False):
            yield _record(line) or {}


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("id"), str) else None


def _check_header(folder: Path, header: dict[str, Any]) -> None:
    """Whether the earlier run is this one.

    Raises:
        UsageError: it is not, with the first difference.
    """
    place = folder / RUN_FILE
    try:
        earlier = orjson.loads(place.read_bytes())
    except FileNotFoundError:
        raise UsageError(
            f"{folder} holds records without {RUN_FILE}, so that nobody knows what they are of",
            hint="--overwrite starts anew",
            input=str(folder),
        ) from None
    except orjson.JSONDecodeError:
        raise UsageError(f"{place} is damaged", hint="--overwrite starts anew", input=str(folder)) from None
    difference = _difference(earlier, orjson.loads(encode(header)), "")
    if difference:
        name, was, now = difference
        raise UsageError(
            f"{folder} holds a run of other settings: {name} was {was}, now it is {now}",
            hint="take the same settings, another --output, or --overwrite",
            input=str(folder),
        )


def _difference(earlier: Any, now: Any, place: str) -> tuple[str, Any, Any] | None:
    if isinstance(earlier, dict) and isinstance(now, dict):
        for key in [*now, *(key for key in earlier if key not in now)]:
            if key not in _MAY_DIFFER:
                found = _difference(earlier.get(key), now.get(key), f"{place}.{key}".lstrip("."))
                if found:
                    return found
        return None
    return None if earlier == now else (place, earlier, now)
