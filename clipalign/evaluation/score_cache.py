"""Caches of what runs of one model have in common.

:class:`ScoreCache` holds in memory what the runs of a sweep share. The vector of a picture does not depend on layers,
template or epsilon; the attributions of a caption do not depend on epsilon and mode.

:class:`CropStore` keeps vectors of pictures and their crops on disk, so that a run with other scales or descriptions
takes seconds. One file a picture, named by a hash of everything its numbers depend on, with a checksum; a damaged one
is computed again. A folder that cannot be written costs time only.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from clipalign.cache import write_kept
from clipalign.data.words import Mode, choose_misaligned
from clipalign.errors import ClipalignError
from clipalign.evaluation.benchmark import CaptionOutcome, CaptionSample
from clipalign.files import is_file
from clipalign.methods.scores import f_clip_score
from clipalign.results import Provenance

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(eq=False)
class ScoreCache:
    """Vectors of pictures (E), or why there is none, and what the latest run with the same attributions found."""

    features: dict[str, Tensor | ClipalignError] = field(default_factory=dict)
    _shared: dict[str, object] = field(default_factory=dict)
    _outcomes: dict[str, CaptionOutcome | ClipalignError] = field(default_factory=dict)

    def found(
        self, samples: Sequence[CaptionSample], provenance: Provenance
    ) -> list[CaptionOutcome | ClipalignError] | None:
        """The outcomes of these samples under the mode and epsilon of ``provenance``; None where they are not known."""
        if self._shared != _without_thresholds(provenance) or not all(one.id in self._outcomes for one in samples):
            return None
        return [rescored(self._outcomes[sample.id], provenance) for sample in samples]

    def keep(
        self,
        samples: Sequence[CaptionSample],
        outcomes: Sequence[CaptionOutcome | ClipalignError],
        provenance: Provenance,
    ) -> None:
        """Remember the outcomes of these samples; those of other attributions are forgotten."""
        shared = _without_thresholds(provenance)
        if shared != self._shared:
            self._shared, self._outcomes = shared, {}
        self._outcomes |= {sample.id: outcome for sample, outcome in zip(samples, outcomes, strict=True)}


def picture_key(sample: CaptionSample) -> str:
    """The same for samples of one picture, however often they are made."""
    if hasattr(sample.image, "__fspath__"):
        return str(sample.image)
    return sample.id if isinstance(sample.image, bytes) else sample.image_name


def _without_thresholds(provenance: Provenance) -> dict[str, object]:
    settings = {name: value for name, value in provenance.settings.items() if name not in ("mode", "epsilon")}
    return {**settings, "weights": provenance.weights_sha256, "model": provenance.model}


def rescored(outcome: CaptionOutcome | ClipalignError, provenance: Provenance) -> CaptionOutcome | ClipalignError:
    """The outcome as ``detect`` would give it under the mode and epsilon of ``provenance``."""
    if isinstance(outcome, ClipalignError):
        return outcome
    result = outcome.result
    values = [word.attribution for word in result.words]
    mode, epsilon = Mode(str(provenance.settings["mode"])), float(str(provenance.settings["epsilon"]))
    chosen = choose_misaligned(values, mode=mode, epsilon=epsilon)
    total = sum((values[place] or 0.0 for place in chosen), 0.0)
    marked = frozenset(chosen)
    result = replace(
        result,
        words=tuple(replace(word, misaligned=place in marked) for place, word in enumerate(result.words)),
        misaligned=tuple(result.words[place].text for place in chosen),
        sum_negative_attribution=total,
        f_clip_score=f_clip_score(total, result.clip_score),
        provenance=provenance,
    )
    return replace(outcome, result=result)


FORMAT: Final = 1
"""Raised whenever the numbers in a file would come out differently."""

CROPS_FOLDER: Final = "crops"  # in clipalign's cache folder

_FOLDER_DIGITS: Final = 16
_SPREAD_DIGITS: Final = 2
"""Digits of a file's name that name its folder: 256 folders, since file systems handle ImageNet in one folder badly."""

logger = logging.getLogger(__name__)


class CropStore:
    """Vectors of one model's pictures, cropped one way; ``key`` is all that they depend on, in JSON's types.

    ``folder`` is that of clipalign's cache; None keeps nothing.
    """

    def __init__(self, folder: Path | None, key: Mapping[str, object]) -> None:
        digest = hashlib.sha256(json.dumps({"format": FORMAT, **key}, sort_keys=True).encode()).hexdigest()
        self._folder = None if folder is None else folder / CROPS_FOLDER / digest[:_FOLDER_DIGITS]
        self._warned = False

    def get(self, identity: str) -> Tensor | None:
        file = self._file(identity)
        if file is None or not is_file(file):
            return None
        try:
            with safe_open(file, framework="pt") as content:
                said = content.metadata() or {}
                vectors: Tensor = content.get_tensor("vectors")
        except (OSError, SafetensorError, KeyError, ValueError):
            said, vectors = {}, torch.empty(0)
        if said.get("identity") == identity and said.get("checksum") == _checksum(vectors):
            return vectors
        logger.warning("the kept vectors in %s are damaged and are made again", file)
        return None

    def put(self, identity: str, vectors: Tensor) -> None:
        """Write the vectors, all or nothing."""
        file = self._file(identity)
        if file is None or self._warned:
            return
        content = save({"vectors": vectors}, metadata={"identity": identity, "checksum": _checksum(vectors)})
        try:
            write_kept(file, content)
        except OSError as error:
            self._warned = True
            logger.warning("vectors of crops are not kept: %s: %s", file.parent, error.strerror or error)

    def _file(self, identity: str) -> Path | None:
        if self._folder is None or not identity:
            return None
        name = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        return self._folder / name[:_SPREAD_DIGITS] / f"{name}.safetensors"


def _checksum(vectors: Tensor) -> str:
    return hashlib.sha256(vectors.contiguous().numpy().tobytes()).hexdigest()
