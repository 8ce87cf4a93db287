"""Models and data sets by name, for commands and Python programs: listed, and fetched where license and user allow."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from clipalign.config.groups import FetchSettings
from clipalign.download.catalog import Status, check_license, find, status_of
from clipalign.download.dataset_rows import DATASETS, DatasetRow
from clipalign.download.datasets import fetch_dataset
from clipalign.download.fetch import DownloadContext, DownloadResult
from clipalign.download.models import fetch_model, with_files
from clipalign.download.web import NO_NETWORK, Web
from clipalign.errors import DownloadFailed, MissingWeights
from clipalign.models.registry import ROWS, ModelRow

Row: TypeAlias = ModelRow | DatasetRow


def list_models(cache_dir: str | Path | None = None) -> list[Status]:
    """The models that have a name of their own, with size, license, and whether they are on this machine.

    Example:
        >>> [(model.name, model.state) for model in clipalign.list_models() if model.name == "pictogram"]
        [('pictogram', 'here')]
    """
    return [status_of(row, _folder(cache_dir)) for row in ROWS.values()]


def list_datasets(cache_dir: str | Path | None = None) -> list[Status]:
    """The data sets that can be fetched, with size, license, and whether they are on this machine.

    Example:
        >>> "foil" in [dataset.name for dataset in clipalign.list_datasets()]
        True
    """
    return [status_of(row, _folder(cache_dir)) for row in DATASETS.values()]


def download(
    name: str, *, accept_license: bool = False, cache_dir: str | Path | None = None, offline: bool = False
) -> list[Path]:
    """Fetch a model or a data set and what it needs, resumed and verified as by ``clipalign download``.

    Args:
        name: a model's, as for :func:`clipalign.load`, or a data set's.
        accept_license: whether you accept its license, where that is not a free one.
        cache_dir: clipalign's cache folder, where it is not the usual one.
        offline: whether what is not here is an error.

    Returns:
        The files.

    Raises:
        UnknownModel, UnknownDataset, LicenseNotAccepted, MissingDataset, DownloadFailed, VerificationFailed.

    Example:
        >>> try:
        ...     clipalign.download("ViT-B-32", offline=True)
        ... except clipalign.MissingWeights as error:
        ...     print(error.message)
        ViT-B-32 is not on this machine, and --offline (or HF_HUB_OFFLINE) forbids fetching it
    """
    folder = _folder(cache_dir)
    accepted = (name,) if accept_license else ()
    settings = FetchSettings(cache_dir=folder, offline=offline, accept_license=accepted)
    context = DownloadContext(web=Web(offline=offline), cache_dir=folder)
    return [result.path for row in with_needs([find(name)]) for result in fetch_row(row, settings, context)]


def with_needs(rows: Sequence[Row]) -> list[Row]:
    """Put each data set after those it needs, without duplicates."""
    found: dict[str, Row] = {}
    for row in rows:
        for needed in row.needs if isinstance(row, DatasetRow) else ():
            found.setdefault(needed, DATASETS[needed])
        found.setdefault(row.name, row)
    return list(found.values())


def _folder(cache_dir: str | Path | None) -> Path | None:
    return None if cache_dir is None else Path(cache_dir)


def fetch_row(
    row: Row, settings: FetchSettings, context: DownloadContext, *, handed_over: Sequence[Path] = ()
) -> list[DownloadResult]:
    """Fetch a model or a data set if its license and ``--offline`` allow it; local files need neither."""
    if not isinstance(row, DatasetRow):
        row = with_files(row)
    files = row.files if isinstance(row, DatasetRow) else row.weights
    here = bool(files) and status_of(row, settings.cache_dir).state in ("here", "damaged")
    if not here and not handed_over:
        if not (isinstance(row, DatasetRow) and row.by_hand_alone):
            check_license(row, settings.accept_license)
        if settings.offline:
            raise MissingWeights(
                f"{row.name} is not on this machine, and --offline (or HF_HUB_OFFLINE) forbids fetching it",
                hint=f"run it without --offline (and without HF_HUB_OFFLINE); or, {_elsewhere(row, settings)}",
                input=row.name,
            )
    try:
        if isinstance(row, DatasetRow):
            return fetch_dataset(row, context, handed_over=handed_over)
        return fetch_model(row, context)
    except DownloadFailed as error:
        if error.hint == NO_NETWORK:
            error.hint = f"{NO_NETWORK} If not, {_elsewhere(row, settings)}"
        raise


def _elsewhere(row: Row, settings: FetchSettings) -> str:
    accepted = f" --accept-license {shlex.quote(row.name)}" if row.name in settings.accept_license else ""
    line = f"clipalign download {shlex.quote(row.name)} --cache-dir carry/clipalign{accepted}"
    return (
        f"on a machine with a network: HF_HOME=carry/huggingface {line}; "
        "then bring the folder carry here, and run with the same HF_HOME and --cache-dir"
    )
