"""What runs of one model on one benchmark share, so that a sweep pays for it once.

The vector of a picture does not depend on layers, template or epsilon; the attributions of a caption do not depend on
epsilon and mode. Runs that differ in those alone need neither pictures nor model again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from clipalign.benchmarks.task import Outcome, Sample
from clipalign.errors import ClipalignError
from clipalign.methods.scores import f_clip_score
from clipalign.pipeline.words import Mode
from clipalign.results import DetectResult, Provenance

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(eq=False)
class Shelf:
    """Vectors of pictures, and what the latest run with the same attributions found.

    Attributes:
        features: picture → unit vector (E), or why there is none.
    """

    features: dict[str, Tensor | ClipalignError] = field(default_factory=dict)
    _shared: dict[str, object] = field(default_factory=dict)
    _outcomes: dict[str, Outcome | ClipalignError] = field(default_factory=dict)

    def found(self, samples: Sequence[Sample], provenance: Provenance) -> list[Outcome | ClipalignError] | None:
        """The outcomes of these samples under the mode and epsilon of ``provenance``; None where they are not known."""
        if self._shared != _without_thresholds(provenance) or not all(one.id in self._outcomes for one in samples):
            return None
        return [rescored(self._outcomes[sample.id], provenance) for sample in samples]

    def keep(
        self, samples: Sequence[Sample], outcomes: Sequence[Outcome | ClipalignError], provenance: Provenance
    ) -> None:
        """Remember the outcomes of these samples; those of other attributions are forgotten."""
        shared = _without_thresholds(provenance)
        if shared != self._shared:
            self._shared, self._outcomes = shared, {}
        self._outcomes |= {sample.id: outcome for sample, outcome in zip(samples, outcomes, strict=True)}


def picture_key(sample: Sample) -> str:
    """The same for samples of one picture, however often they are made."""
    if hasattr(sample.image, "__fspath__"):
        return str(sample.image)
    return sample.id if isinstance(sample.image, bytes) else sample.image_name


def _without_thresholds(provenance: Provenance) -> dict[str, object]:
    settings = {name: value for name, value in provenance.settings.items() if name not in ("mode", "epsilon")}
    return {**settings, "weights": provenance.weights_sha256, "model": provenance.model}


def rescored(outcome: Outcome | ClipalignError, provenance: Provenance) -> Outcome | ClipalignError:
    """The outcome as ``detect`` would give it under the mode and epsilon of ``provenance``."""
    if isinstance(outcome, ClipalignError):
        return outcome
    result = outcome.result
    read = {place: word.attribution for place, word in enumerate(result.words) if word.attribution is not None}
    ranked = sorted(read, key=lambda place: read[place])
    if provenance.settings["mode"] == Mode.MOST_NEGATIVE.value:
        chosen = ranked[:1]
    else:
        epsilon = float(str(provenance.settings["epsilon"]))
        chosen = [place for place in ranked if read[place] < epsilon]
    total = sum((read[place] for place in chosen), 0.0)
    marked = frozenset(chosen)
    rethought: DetectResult = replace(
        result,
        words=tuple(replace(word, misaligned=place in marked) for place, word in enumerate(result.words)),
        misaligned=tuple(result.words[place].text for place in chosen),
        sum_negative_attribution=total,
        f_clip_score=f_clip_score(total, result.clip_score),
        provenance=provenance,
    )
    return replace(outcome, result=rethought)
