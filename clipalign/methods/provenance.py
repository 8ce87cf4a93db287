"""Where a result comes from, said the same way by every method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

from clipalign.results import Provenance
from clipalign.version import __version__

if TYPE_CHECKING:
    from clipalign.pipeline.loaded import LoadedModel


def provenance_of(
    loaded: LoadedModel, settings: Mapping[str, object], *, seed: int, notes: Sequence[str] = ()
) -> Provenance:
    """Model, weights, device, versions and settings.

    Args:
        loaded: the model.
        settings: every setting that reached the computation, defaults included.
        seed: of the command.
        notes: what a reader must know besides the device's reason and what the loading said.
    """
    packages = {"torch": "torch", "open_clip": "open_clip_torch", "pillow": "pillow"}
    return Provenance(
        model=loaded.row.name,
        architecture=loaded.architecture,
        weights_sha256=loaded.weights_sha256,
        quick_gelu=loaded.quick_gelu,
        device=loaded.choice.device,
        precision=loaded.choice.precision,
        seed=seed,
        versions={"clipalign": __version__} | {name: version(package) for name, package in packages.items()},
        settings=dict(settings),
        notes=tuple(filter(None, (loaded.choice.reason, *loaded.notes, *notes))),
    )
