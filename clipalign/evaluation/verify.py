"""Score a sample of an output's records again: whether the numbers come out, and if not, what differs.

Settings are those of the output's provenance; the model is the caller's, since a file of somebody else's must not
choose what is loaded.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from clipalign.config.settings import declared
from clipalign.data.columns import ALL_COLUMNS, RowReader
from clipalign.data.outputs import OUTPUTS, read_outputs
from clipalign.data.records import InputRecord, Place
from clipalign.errors import ClipalignError, InputUnreadable, UsageError
from clipalign.eval_results import Verification
from clipalign.evaluation.compare import differing
from clipalign.methods.detect import DetectScorer
from clipalign.methods.score_long import LongScorer
from clipalign.methods.scores import Scorer
from clipalign.methods.settings import DetectSettings, LongSettings
from clipalign.plain import plain
from clipalign.runs.batch import run_batch

if TYPE_CHECKING:
    from clipalign.models.model import LoadedModel

SAMPLE: Final = 20
"""Records that are scored again unless the user says how many."""

TOLERANCES: Final = {"fp32": 1e-4}
LOW_PRECISION: Final = 5e-3
"""Allowed differences of cosines between machines and versions, in fp32 and in any other precision."""

_NOT_THE_NUMBERS: Final = ("calibration", "batch_size", "suggest", "candidates", "explain")
"""Settings not taken from the file: one names a file to read, and none changes a cosine or a verdict."""


def read_sample(path: Path, *, size: int, seed: int, pictures: Path | None) -> list[InputRecord]:
    """Return records drawn from an output, with what was found of them in ``columns``.

    Args:
        pictures: folder of relative pictures; None for beside the file, then the working directory.

    Raises:
        InputUnreadable: no record of it was scored, or they have no provenance.
    """
    rng, kept = random.Random(seed), list[InputRecord]()
    reader = RowReader(pictures, keep=(ALL_COLUMNS,))
    for number, found in enumerate(filter(_was_scored, read_outputs(path))):
        record = reader.record(found, Place(str(path), 0, number))
        if number < size:
            kept.append(record)
        elif (drawn := rng.randrange(number + 1)) < size:
            kept[drawn] = record
    if not kept:
        raise InputUnreadable(f"{path} has no record of a result", hint=OUTPUTS, input=str(path))
    return kept


def _was_scored(found: Mapping[str, Any]) -> bool:
    origin = found.get("provenance")
    known = isinstance(origin, dict) and isinstance(origin.get("settings"), dict)
    return known and isinstance(found.get("cosine"), int | float)


def verify(
    path: Path,
    records: Iterable[InputRecord],
    loaded: LoadedModel,
    *,
    progress: Callable[[int], None] = lambda records: None,
) -> Verification:
    """Score the records of :func:`read_sample` again; UsageError where they are of no command that can be repeated."""
    left = list(records)
    then: Mapping[str, Any] = left[0].columns["provenance"]
    scorer = _scorer(loaded, then["settings"], left[0].columns, path)
    largest, wrong, unreadable = 0.0, [], []
    for outcome in run_batch(left, scorer):
        progress(1)
        if isinstance(outcome.result, ClipalignError):
            unreadable.append(outcome.record.id)
            continue
        before, now = outcome.record.columns, outcome.result.to_dict()
        apart = abs(before["cosine"] - now["cosine"])
        largest = max(largest, apart)
        low = {str(then.get("precision")), scorer.provenance.precision} - TOLERANCES.keys()
        if apart > (LOW_PRECISION if low else TOLERANCES["fp32"]) or _verdict(before) != _verdict(now):
            wrong.append(outcome.record.id)
    return Verification(
        place=str(path),
        model=loaded.row.name,
        records=len(left),
        largest=largest,
        different=tuple(wrong),
        unreadable=tuple(unreadable),
        differing=tuple(_differing(then, plain(scorer.provenance))),
    )


def _scorer(loaded: LoadedModel, settings: Mapping[str, Any], record: Mapping[str, Any], path: Path) -> Scorer[Any]:
    def given(kind: type) -> dict[str, Any]:
        return {name: settings[name] for name in declared(kind) if name in settings and name not in _NOT_THE_NUMBERS}

    if "misaligned" in record:
        return DetectScorer.of(loaded, DetectSettings(**given(DetectSettings)))
    if "sentences" in record:
        return LongScorer(loaded, LongSettings(**given(LongSettings)))
    hint = "give an output of detect or score-long"
    raise UsageError(f"records of {path} cannot be scored again", hint=hint, input="--verify")


def _verdict(record: Mapping[str, Any]) -> object:
    """What the record calls wrong; of a damaged one what stands there, which no result equals."""
    found = record.get("misaligned", record.get("sentences"))
    if not isinstance(found, list):
        return found
    if "misaligned" in record:
        return sorted(map(str, found))
    return [sentence.get("lowers") if isinstance(sentence, dict) else sentence for sentence in found]


def _differing(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, object, object]]:
    for name in ("model", "weights_sha256", "quick_gelu", "device", "precision"):
        if then.get(name) != now[name]:
            yield name, then.get(name), now[name]
    for group in ("versions", "settings"):
        yield from (one for one in differing(then.get(group) or {}, now[group]) if one[0] not in _NOT_THE_NUMBERS)
