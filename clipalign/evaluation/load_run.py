"""The folder of a run: ``run.json`` what was asked, ``samples.jsonl`` a line a sample, ``result.json`` what came out.

Lines are appended as samples are scored. A run that ended early is taken up again at the last chunk that is whole: a
torn line, and what was scored of an unfinished chunk, is cut off and scored anew, so that the numbers are those of one
uninterrupted run. Nothing here knows what a sample is about.

Runs that are over, read back from their folders: what was asked, what came out, and every sample.

No model is needed for that, and no picture.
"""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson

from clipalign.errors import DISK_FULL, UsageError
from clipalign.evaluation.registry import find_benchmark
from clipalign.evaluation.task import NO_RECORD, Benchmark
from clipalign.files import exclusive
from clipalign.output.json import encode
from clipalign.results import Provenance
from clipalign.runs.distributed import Ranks

RUN_FILE: Final = "run.json"
SAMPLES_FILE: Final = "samples.jsonl"
RESULT_FILE: Final = "result.json"
LOCK_FILE: Final = ".lock"

_PART: Final = re.compile(r"samples\.\d{5}-of-\d{5}\.jsonl")

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
    folder: Path | None,
    header: dict[str, Any],
    *,
    chunk: int,
    resume: bool,
    overwrite: bool,
    ranks: Ranks | None = None,
) -> Iterator[SampleRecords]:
    """The records of a run into ``folder``, which no other run works on meanwhile.

    Args:
        folder: made where it is missing; None for a run that leaves nothing.
        header: data set, model, settings and provenance of this run.
        chunk: samples that were scored together.
        resume: go on with what is there.
        overwrite: throw away what is there.
        ranks: the processes of this run; each writes a file of its own, until :func:`join_parts`.

    Raises:
        UsageError: the folder cannot be written, holds a run and neither was asked for, or holds another run.
        Busy: another run is at work there.
        OSError: the disk is full.
    """
    ranks = ranks or Ranks()
    if folder is None:
        yield SampleRecords()
        return
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if ranks.first:
                stack.enter_context(exclusive(folder / LOCK_FILE, remove=True))
                _prepare(folder, header, chunk=chunk, resume=resume, overwrite=overwrite, processes=ranks.count)
            ranks.wait()
            samples = folder / part_name(ranks.index, ranks.count)
            count, end = _whole_records(samples, chunk) if samples.exists() else (0, 0)
            file = stack.enter_context(samples.open("r+b" if count else "wb"))
            file.truncate(end)
            file.seek(end)
        except OSError as error:
            if error.errno in DISK_FULL:
                raise
            raise UsageError(f"{folder} cannot be written: {error.strerror}", input=str(folder)) from None
        yield SampleRecords(file, _records(samples, count), count)


def part_name(index: int, processes: int) -> str:
    """The file of process ``index``, from 0 on."""
    return SAMPLES_FILE if processes == 1 else f"samples.{index + 1:05}-of-{processes:05}.jsonl"


def join_parts(folder: Path, records: Iterable[dict[str, Any]]) -> None:
    """Put the records of all processes into one file, in the order of the samples, in the place of theirs."""
    write_whole(folder / SAMPLES_FILE, b"".join(encode(record) for record in records))
    for part in _parts(folder):
        part.unlink()


def _parts(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("samples.*-of-*.jsonl") if _PART.fullmatch(path.name))


def check_free(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Whether a run may write into ``folder``; asked before a model is loaded, and once more when the folder is locked.

    Raises:
        UsageError: it holds the records of a run, and neither ``resume`` nor ``overwrite`` is set; or it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", hint="name a folder", input=str(folder))
    if not resume and not overwrite and _holds_records(folder):
        hint = "--resume goes on with it, --overwrite starts anew"
        raise UsageError(f"{folder} already holds the records of a run", hint=hint, input=str(folder))


def _holds_records(folder: Path) -> bool:
    return any(path.exists() and path.stat().st_size for path in (folder / SAMPLES_FILE, *_parts(folder)))


def _prepare(
    folder: Path, header: dict[str, Any], *, chunk: int, resume: bool, overwrite: bool, processes: int
) -> None:
    """Leave in the folder what this run goes on from, in as many files as it has processes."""
    check_free(folder, resume=resume, overwrite=overwrite)
    samples = folder / SAMPLES_FILE
    there = _holds_records(folder)
    if there and resume:
        _check_header(folder, header)
        _deal(folder, chunk, processes)
    (folder / RESULT_FILE).unlink(missing_ok=True)
    if not (there and resume):
        for path in (samples, *_parts(folder)):
            path.unlink(missing_ok=True)
        write_whole(folder / RUN_FILE, encode(header, indent=True))


def _deal(folder: Path, chunk: int, processes: int) -> None:
    """Records of a run by another number of processes, as this one's would have written them.

    Kept are the chunks from the first on, up to the first that is not there.
    """
    samples, parts = folder / SAMPLES_FILE, _parts(folder)
    wanted = [folder / part_name(index, processes) for index in range(processes)]
    worlds = {int(part.stem.rpartition("-")[2]) for part in parts}
    if (not parts and processes == 1) or (not samples.exists() and worlds == {processes}):
        return
    found = _chunks_of([samples], chunk) if samples.exists() else []
    for world in worlds:
        dealt = _chunks_of([folder / part_name(index, world) for index in range(world)], chunk)
        found = max(found, dealt, key=len)
    for index, path in enumerate(wanted):
        write_whole(path, b"".join(found[index::processes]))
    for path in {samples, *parts} - set(wanted):
        path.unlink(missing_ok=True)


def _chunks_of(files: Sequence[Path], chunk: int) -> list[bytes]:
    """The whole chunks of files that took turns, from the first to the last before a gap."""
    by_file = []
    for path in files:
        count, _ = _whole_records(path, chunk) if path.exists() else (0, 0)
        with path.open("rb") if path.exists() else io.BytesIO() as file:
            by_file.append([b"".join(itertools.islice(file, chunk)) for _ in range(count // chunk)])
    found: list[bytes] = []
    while len(taken := by_file[len(found) % len(files)]) > len(found) // len(files):
        found.append(taken[len(found) // len(files)])
    return found


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


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A run with a result.

    Attributes:
        folder: of the run.
        document: its ``result.json``.
        benchmark: that it was of; its data may be gone.
        outcomes: of the samples that could be read, by their ids; empty where this benchmark's cannot be reread.
    """

    folder: Path
    document: dict[str, Any]
    benchmark: Benchmark[Any, Any]
    outcomes: dict[str, Any]


def read_provenance(record: dict[str, Any]) -> Provenance:
    """Back from JSON."""
    known = {field.name: record[field.name] for field in fields(Provenance) if field.name in record}
    return Provenance(**{**known, "notes": tuple(known.get("notes", ()))})


def finished_run(place: Path) -> FinishedRun:
    """The run whose ``result.json`` is at ``place``, or in the folder ``place``.

    Raises:
        UsageError: there is none, or it is damaged or of another version.
    """
    folder = place if place.is_dir() else place.parent
    result = folder / RESULT_FILE if place.is_dir() else place
    document = _read(result)
    try:
        benchmark = find_benchmark(str(document["dataset"]))
        provenance = read_provenance(document["provenance"])
        metrics = document["metrics"]
        model, settings = document["model"], document.get("settings", {})
        numbers = isinstance(metrics, dict) and all(isinstance(one, float | int) for one in metrics.values())
        if not numbers or not isinstance(model, str) or not isinstance(settings, dict | None):
            raise TypeError
    except (KeyError, TypeError) as error:
        raise UsageError(
            f"{result} is no result of eval", hint="name a result.json, or the --output of a run", input=str(result)
        ) from error
    return FinishedRun(folder, document, benchmark, _outcomes(folder / SAMPLES_FILE, benchmark, provenance))


def _read(result: Path) -> dict[str, Any]:
    try:
        document = orjson.loads(result.read_bytes())
    except FileNotFoundError:
        raise UsageError(
            f"there is no {result}", hint="name a result.json, or the --output of a finished run", input=str(result)
        ) from None
    except OSError as error:
        raise UsageError(f"{result} cannot be read: {error.strerror}", input=str(result)) from None
    except orjson.JSONDecodeError:
        raise UsageError(f"{result} is damaged", hint="--resume of its run writes it anew", input=str(result)) from None
    return document if isinstance(document, dict) else {}


def _outcomes(samples: Path, benchmark: Benchmark[Any, Any], provenance: Provenance) -> dict[str, Any]:
    found: dict[str, Any] = {}
    try:
        with samples.open("rb") as lines:
            for line in lines:
                record = orjson.loads(line)
                if "error" not in record:
                    found[record["id"]] = benchmark.reread(record, provenance)
    except NotImplementedError:
        return {}
    except OSError as error:
        raise UsageError(
            f"{samples} cannot be read: {error.strerror}", hint="it belongs beside result.json", input=str(samples)
        ) from None
    except NO_RECORD as error:
        raise UsageError(
            f"{samples} is damaged after {len(found):,} samples",
            hint="--resume of its run repairs it",
            input=str(samples),
        ) from error
    return found


def outcomes_in_order(run: FinishedRun, ids: Sequence[str]) -> list[Any]:
    """Its outcomes of these samples."""
    return [run.outcomes[id] for id in ids]
