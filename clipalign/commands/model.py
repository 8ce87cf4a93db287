"""What every command with a model does first: weights, device, warnings, and then the model itself.

Cheapest check first: that weights are missing is said before torch is imported. What else a command has to read, it
reads between choosing and loading. Nothing here knows what the model is for.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from clipalign.errors import MissingWeights
from clipalign.registry import ModelRow
from clipalign.report.console import notices
from clipalign.settings import Settings

if TYPE_CHECKING:
    from clipalign.device import DeviceChoice
    from clipalign.pipeline.model import LoadedModel

OFFLINE_MODEL: Final = "pictogram"


@dataclass(frozen=True, slots=True)
class ChosenModel:
    """A model whose weights and device are known, not yet in memory.

    Attributes:
        row: of the registry.
        choice: device, precision and threads.
        settings: of the run.
    """

    row: ModelRow
    choice: DeviceChoice
    settings: Settings

    def load(self) -> LoadedModel:
        """Load it, and tell ``-v`` how long that took.

        Raises:
            MissingWeights, VerificationFailed, ModelMismatch.
        """
        from clipalign.pipeline.model import load_model

        row, settings = self.row, self.settings
        started = time.perf_counter()
        with _other_model_hinted(row):
            loaded = load_model(row, choice=self.choice, cache_dir=settings.cache_dir, offline=settings.offline)
        notices.inform(f"{row.name} loaded in {time.perf_counter() - started:.1f} s: {row.note or row.architecture}")
        return loaded


def choose_model(row: ModelRow, settings: Settings) -> ChosenModel:
    """Check the weights, choose the device, and warn of a precision that is not to be had.

    Raises:
        MissingWeights, VerificationFailed, DeviceUnavailable.
    """
    with _other_model_hinted(row):
        _check_weights(row, settings)
    from clipalign.device import choose_device

    choice = choose_device(settings.device, settings.precision, settings.threads)
    if settings.precision not in ("auto", choice.precision):
        notices.warn(choice.reason)
    notices.inform(choice.reason)
    return ChosenModel(row, choice, settings)


def _check_weights(row: ModelRow, settings: Settings) -> None:
    """Say that weights are missing in a moment, before torch is imported; open_clip's tags wait for open_clip."""
    from clipalign.weights import locate

    if not any(source.kind == "open_clip" for source in row.weights):
        locate(row, cache_dir=settings.cache_dir, offline=settings.offline)


@contextmanager
def _other_model_hinted(row: ModelRow) -> Iterator[None]:
    """Where weights would have to be downloaded, name the model that is here."""
    try:
        yield
    except MissingWeights as error:
        if row.name != OFFLINE_MODEL and error.hint.startswith("clipalign download"):
            error.hint += f"; or --model {OFFLINE_MODEL}, which is here but knows pictogram scenes only"
        raise
