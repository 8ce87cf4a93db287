"""The folder of a run of ``eval``: ``run.json`` what was asked, ``samples.jsonl`` a line a sample, ``result.json``.

Lines are appended as chunks are scored (:func:`open_samples`). An interrupted run is resumed at its last whole chunk:
what follows is cut off and scored again, so that the numbers are those of an uninterrupted run. :func:`load_run` reads
a finished run without a model or pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any, Final

import orjson

from clipalign.errors import DISK_FULL, UsageError
from clipalign.evaluation.benchmark import RECORD_ERRORS, Benchmark, Unreadable
from clipalign.evaluation.registry import BENCHMARKS, find_benchmark
from clipalign.files import exclusive, remove_leftovers, write_whole
from clipalign.output.json import encode
from clipalign.results import Provenance
from clipalign.runs.log import Log, first_difference, open_log

RUN_FILE: Final = "run.json"
SAMPLES_FILE: Final = "samples.jsonl"
RESULT_FILE: Final = "result.json"
LOCK_FILE: Final = ".lock"

_MAY_DIFFER: Final = ("versions", "notes", "limit")
"""Between a run and its resumption: libraries may be updated, and a limit only shortens."""


class SampleLog:
    """Records of earlier samples to read (``kept``, a multiple of the chunk), and of later ones to write, if any."""

    def __init__(self, log: Log[dict[str, Any]] | None = None, kept: int = 0) -> None:
        self._log = log
        self.kept = kept

    def earlier(self) -> Iterator[dict[str, Any]]:
        """The kept records, to be read before anything is appended."""
        return iter(()) if self._log is None else (record for _, record in islice(self._log.read(), self.kept))

    def append(self, records: Sequence[dict[str, Any]]) -> None:
        if self._log is not None:
            self._log.append(*records)


@contextmanager
def open_samples(
    folder: Path | None, header: dict[str, Any], *, chunk: int, resume: bool, overwrite: bool
) -> Iterator[SampleLog]:
    """Open the log of a run in ``folder``, made if needed, and lock it; None for a run that leaves nothing.

    Args:
        header: data set, model, settings and provenance of this run.
        chunk: samples that are scored together.
        resume: go on with the records that exist.
        overwrite: discard the records that exist.

    Raises:
        UsageError: the folder cannot be written, holds a run and neither was asked for, or holds another run.
        Busy: another run uses it.
        OSError: the disk is full.
    """
    if folder is None:
        yield SampleLog()
        return
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(exclusive(folder / LOCK_FILE, remove=True))
            remove_leftovers(folder)
            check_free(folder, resume=resume, overwrite=overwrite)
            resumed = resume and _holds_samples(folder)
            if resumed:
                _check_header(folder, header)
            (folder / RESULT_FILE).unlink(missing_ok=True)
            log = open_log(folder / SAMPLES_FILE)
            stack.callback(log.close)
            if not resumed:
                log.keep(0, 0)
                write_whole(folder / RUN_FILE, encode(header, indent=True))
            samples = SampleLog(log, _keep_whole_chunks(log, chunk))
        except OSError as error:
            if error.errno in DISK_FULL:
                raise
            raise UsageError(f"{folder} cannot be written: {error.strerror}", input=str(folder)) from None
        yield samples


def check_free(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Check that a run may write into ``folder``, before a model is loaded and again when the folder is locked.

    Raises:
        UsageError: it is a file, or holds records and neither ``resume`` nor ``overwrite`` is set.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", hint="name a folder", input=str(folder))
    if not resume and not overwrite and _holds_samples(folder):
        hint = "--resume goes on with it, --overwrite starts anew"
        raise UsageError(f"{folder} already holds the records of a run", hint=hint, input=str(folder))


def _holds_samples(folder: Path) -> bool:
    path = folder / SAMPLES_FILE
    return path.exists() and path.stat().st_size > 0


def _keep_whole_chunks(log: Log[dict[str, Any]], chunk: int) -> int:
    """Cut off what follows the last whole chunk; return how many samples are kept."""
    kept = end = 0
    with suppress(UsageError):  # a damaged record is scored anew, with all behind it
        for _, record in log.read():
            if not isinstance(record.get("id"), str):
                break
            if log.records % chunk == 0:
                kept, end = log.records, log.end
    log.keep(kept, end)
    return kept


def _check_header(folder: Path, header: dict[str, Any]) -> None:
    """Check that the earlier run is this one; UsageError with the first difference."""
    path = folder / RUN_FILE
    try:
        earlier = orjson.loads(path.read_bytes())
        difference = first_difference(earlier, orjson.loads(encode(header)), ignore=_MAY_DIFFER)
    except FileNotFoundError:
        raise UsageError(
            f"{folder} holds records without {RUN_FILE}, so their model and settings are unknown",
            hint="--overwrite starts anew",
            input=str(folder),
        ) from None
    except (orjson.JSONDecodeError, AttributeError):
        raise UsageError(f"{path} is damaged", hint="--overwrite starts anew", input=str(folder)) from None
    if difference:
        raise UsageError(
            f"{folder} holds a run of other settings: {difference}",
            hint="take the same settings, another --output, or --overwrite",
            input=str(folder),
        )


# --- finished runs ---


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A run with its ``result.json`` as ``document``; the data of ``benchmark`` may be missing by now.

    ``outcomes`` are those of readable samples, by id; empty where this benchmark's cannot be reread.
    """

    folder: Path
    document: dict[str, Any]
    benchmark: Benchmark[Any, Any]
    outcomes: dict[str, Any]


def load_run(path: Path) -> FinishedRun:
    """The run whose ``result.json`` is at or in ``path``; UsageError if missing, damaged or of another version."""
    folder = path if path.is_dir() else path.parent
    result = folder / RESULT_FILE if path.is_dir() else path
    document = read_result(result)
    try:
        benchmark = _benchmark_of(document)
        names = {field.name for field in fields(Provenance)}
        known = {name: document["provenance"][name] for name in names & document["provenance"].keys()}
        provenance = Provenance(**{**known, "notes": tuple(known.get("notes", ()))})
    except (KeyError, TypeError, AttributeError) as error:
        raise _no_result(result) from error
    return FinishedRun(folder, document, benchmark, _outcomes(folder / SAMPLES_FILE, benchmark, provenance))


def _benchmark_of(document: dict[str, Any]) -> Benchmark[Any, Any]:
    """The benchmark of a run, without its data where it is the user's own, which may lie anywhere."""
    name = document["dataset"]
    if name in BENCHMARKS:
        return find_benchmark(name)
    from clipalign.evaluation.tasks.own_data import OwnClasses, OwnRows

    kind = OwnRows if "mode" in document["settings"] else OwnClasses
    return kind(Path(name), name=name)


def read_result(result: Path) -> dict[str, Any]:
    """A ``result.json``; UsageError if it is missing, damaged or of another version."""
    document = _read(result)
    try:
        metrics, intervals = document["metrics"], document["intervals"]
        for name, value in metrics.items():
            if not isinstance(value, float | int) or not intervals[name].keys() >= {"n", "low", "high", "chance"}:
                raise TypeError
        texts, tables = (document["dataset"], document["model"]), (document["counts"], document["published"])
        if not all(isinstance(one, str) for one in texts) or not all(isinstance(one, dict) for one in tables):
            raise TypeError
        document["settings"] = dict(document.get("settings") or {})
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _no_result(result) from error
    return document


def finished_runs(folder: Path) -> list[dict[str, Any]]:
    """The results in ``folder`` and below, in the order of their paths; UsageError for none, or one that is damaged."""
    found = [read_result(path) for path in sorted(folder.rglob(RESULT_FILE))]
    if not found:
        raise UsageError(f"{folder} holds no finished runs", hint="eval --dataset NAME --output DIR", input=str(folder))
    return found


def _no_result(result: Path) -> UsageError:
    return UsageError(
        f"{result} is no result of eval", hint="name a result.json, or the --output of a run", input=str(result)
    )


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
            for outcome in (benchmark.outcome(orjson.loads(line), provenance) for line in lines):
                if not isinstance(outcome, Unreadable):
                    found[outcome.id] = outcome
    except OSError as error:
        raise UsageError(
            f"{samples} cannot be read: {error.strerror}", hint="it belongs beside result.json", input=str(samples)
        ) from None
    except RECORD_ERRORS as error:
        raise UsageError(
            f"{samples} is damaged after {len(found):,} samples",
            hint="--resume of its run repairs it",
            input=str(samples),
        ) from error
    return found
