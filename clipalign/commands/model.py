"""What every command with a model does first: weights, device, warnings, and then the model itself.

Cheapest check first: that weights are missing is said before torch is imported. What else a command has to read, it
reads between choosing and loading. Nothing here knows what the model is for.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from clipalign.errors import MissingWeights, VerificationFailed
from clipalign.registry import ModelRow
from clipalign.report.console import notices
from clipalign.settings import Settings

if TYPE_CHECKING:
    from clipalign.device import DeviceChoice
    from clipalign.pipeline.loaded import LoadedModel

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
        from clipalign.pipeline.model import load_model

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
        UnknownModel, UnknownDataset: a licence is accepted of what nobody knows.
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
    from clipalign.weights import locate

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
    from clipalign.commands.download import errand_of, fetch_row

    fetch_row(row, settings, errand_of(settings))
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
