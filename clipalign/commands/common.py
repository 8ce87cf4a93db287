"""What every command with a model does first: weights, device, warnings, and then the model itself.

Cheapest check first: that weights are missing is said before torch is imported. What else a command has to read, it
reads between choosing and loading. Nothing here knows what the model is for.

What every command does with many records: input, share, output, model, run, and the status at the end.

Cheapest check first: names, columns and outputs before the weights, the weights before torch, and nothing of an earlier
run is touched before the model is loaded. A command brings what it makes of a loaded model and how its records look.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from clipalign.config.values import Settings
from clipalign.data.readers import open_input
from clipalign.data.records import Input
from clipalign.errors import MissingWeights, UsageError, VerificationFailed
from clipalign.models.registry import ModelRow, find_model
from clipalign.output import chosen_batch_format
from clipalign.output.console import notices, progress_console
from clipalign.runs.distributed import Shard, find_shard, wait_for_all, with_own_device
from clipalign.runs.output import APPENDED

if TYPE_CHECKING:
    from clipalign.config.values import Settings
    from clipalign.device import DeviceChoice
    from clipalign.methods.scores import Scorer
    from clipalign.models.model import LoadedModel
    from clipalign.output.records import RecordView


T = TypeVar("T")

OFFLINE_MODEL: Final = "pictogram"


@dataclass(frozen=True, slots=True)
class ChosenModel:
    """A model whose weights and device are known, not yet in memory.

    Attributes:
        row: of the registry.
        choice: device, precision and threads.
        settings: of the run.
        option: by which the user names a model.
    """

    row: ModelRow
    choice: DeviceChoice
    settings: Settings
    option: str

    def load(self) -> LoadedModel:
        """Load it, and tell ``-v`` how long that took.

        Raises:
            MissingWeights, VerificationFailed, ModelMismatch.
        """
        from clipalign.models.load import load_model

        row, settings = self.row, self.settings
        started = time.perf_counter()
        load = partial(load_model, row, choice=self.choice, cache_dir=settings.cache_dir, offline=settings.offline)
        with _other_model_hinted(row, self.option):
            loaded = _fetching_what_is_missing(load, row, settings)
        notices.inform(f"{row.name} loaded in {time.perf_counter() - started:.1f} s: {row.note or row.architecture}")
        for guess in loaded.notes:
            notices.warn(guess)
        return loaded


def choose_model(row: ModelRow, settings: Settings, *, option: str = "--model") -> ChosenModel:
    """Check the weights, choose the device, and warn of a precision that is not to be had.

    Args:
        row: of the registry.
        settings: of the run.
        option: by which the user names a model, for hints.

    Raises:
        MissingWeights, VerificationFailed, DeviceUnavailable.
        UnknownModel, UnknownDataset: a license is accepted of what nobody knows.
    """
    if settings.accept_license:
        from clipalign.commands.download import check_accepted

        check_accepted(settings)
    with _other_model_hinted(row, option):
        _check_weights(row, settings)
    from clipalign.device import choose_device

    choice = choose_device(settings.device, settings.precision, settings.threads)
    if settings.precision not in ("auto", choice.precision):
        notices.warn(choice.reason)
    notices.inform(choice.reason)
    return ChosenModel(row, choice, settings, option)


def _check_weights(row: ModelRow, settings: Settings) -> None:
    """Say that weights are missing in a moment, before torch is imported; open_clip's tags wait for open_clip."""
    from clipalign.models.weights import locate

    if not any(source.kind == "open_clip" for source in row.weights):
        look = partial(locate, row, cache_dir=settings.cache_dir, offline=settings.offline)
        _fetching_what_is_missing(look, row, settings)


def _fetching_what_is_missing(action: Callable[[], T], row: ModelRow, settings: Settings) -> T:
    """``action()``, once more after fetching what it misses, where the user allows that.

    With ``--download`` that is always, without either word where a person is looking at stderr. A damaged file is never
    replaced unasked.
    """
    try:
        return action()
    except VerificationFailed:
        raise
    except MissingWeights:
        wanted = settings.download if settings.download is not None else _somebody_looks()
        if settings.offline or not wanted or not _can_be_fetched(row):
            raise
    from clipalign.commands.download import download_context, fetch_row

    fetch_row(row, settings, download_context(settings))
    return action()


def _somebody_looks() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def _can_be_fetched(row: ModelRow) -> bool:
    return any(source.kind in ("hub", "url", "open_clip") for source in row.weights)


@contextmanager
def _other_model_hinted(row: ModelRow, option: str) -> Iterator[None]:
    """Where weights would have to be downloaded, name the model that is here."""
    try:
        yield
    except MissingWeights as error:
        if row.name != OFFLINE_MODEL and error.hint.startswith("clipalign download"):
            error.hint += f"; or {option} {OFFLINE_MODEL}, which is here but knows pictogram scenes only"
        raise


SKIP: Final = "skip"


def run_many(
    settings: Settings,
    view: RecordView,
    scorer: Callable[[LoadedModel], Scorer[Any]],
    *,
    source: Input | None = None,
    needs_text: bool = True,
) -> int:
    """Score the records of ``settings.input`` and return the exit status.

    Args:
        settings: of the run.
        view: how the command's records look.
        scorer: makes the method of a loaded model.
        source: the records, instead of what ``settings.input`` names.
        needs_text: whether a record without a text is a bad one.

    Raises:
        UsageError: options that contradict each other, or an output that may not be written.
        InputUnreadable: an input as a whole; with ``--on-error fail`` the first bad record.
        ClipalignError: whatever else keeps the model from scoring.
    """
    row = find_model(settings.model)
    shard = find_shard(settings)
    if shard is not None:
        _check_sharded(settings)
    source = source or open_input(settings.input, image_root=settings.image_root, needs_text=needs_text)
    output = settings.output if shard is None or settings.output is None else shard.output(settings.output)

    from clipalign.runs.writer import open_writer

    with open_writer(settings, view, output=output, has_header=shard is None or shard.index == 1) as writer:
        part, total = _extent(source, shard)
        loaded = choose_model(row, with_own_device(settings)).load()
        method = scorer(loaded)
        writer.begin(method.provenance, total=total)

        from clipalign.runs.batch import run_batch

        outcomes = run_batch(
            writer.remaining(source.records(part)),
            method,
            offline=settings.offline,
            timeout=settings.timeout,
            on_error=settings.on_error or SKIP,
            thumbnail_px=writer.thumbnail_px,
            late=source.late,
        )
        try:
            for outcome in outcomes:
                if not writer.write(outcome):
                    break
        finally:
            outcomes.close()
    if not writer.tally.records:
        notices.warn(f"there are no records in {source.name if shard is None else f'this shard of {source.name}'}")
    wait_for_all()
    return writer.exit_status(check=settings.check)


def _check_sharded(settings: Settings) -> None:
    format = chosen_batch_format(settings)
    if format not in APPENDED:
        hint = f"--format {' or '.join(APPENDED)}; their parts can be put together with cat"
        raise UsageError(f"the format {format} cannot be written in shards", hint=hint, input="--format")


def _extent(source: Input, shard: Shard | None) -> tuple[slice | None, int | None]:
    """The stretch of the input that is done, None for all of it, and how long it is where somebody wants to know."""
    if shard is None:
        return None, source.count() if progress_console() is not None else None
    records = source.count()
    if records is None:
        hint = "write it into a file first"
        raise UsageError(
            "a pipe cannot be split into shards, since its records cannot be counted", hint=hint, input=source.name
        )
    part = shard.of(records)
    return part, part.stop - part.start
