"""Runs that are over, read back from their folders: what was asked, what came out, and every sample.

No model is needed for that, and no picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import orjson

from clipalign.benchmarks.records import RESULT_FILE, SAMPLES_FILE
from clipalign.benchmarks.table import find_benchmark
from clipalign.benchmarks.task import NO_RECORD, Benchmark
from clipalign.errors import UsageError
from clipalign.results import Provenance


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
