"""What the runs of a sweep share in memory.

The vector of a picture does not depend on layers, template or epsilon; the attributions of a caption do not depend on
epsilon and mode.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from clipalign.data.words import Mode, choose_misaligned
from clipalign.errors import ClipalignError
from clipalign.evaluation.benchmark import CaptionOutcome, CaptionSample
from clipalign.methods.scores import f_clip_score
from clipalign.results import Provenance

if TYPE_CHECKING:
    from clipalign.models.encode import EncodedPicture


@dataclass(eq=False)
class ScoreCache:
    """Vectors of pictures, or why there is none, and what the latest run with the same attributions found."""

    pictures: dict[str, EncodedPicture | ClipalignError] = field(default_factory=dict)
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
    total = sum((values[index] or 0.0 for index in chosen), 0.0)
    marked = frozenset(chosen)
    result = replace(
        result,
        words=tuple(replace(word, misaligned=index in marked) for index, word in enumerate(result.words)),
        misaligned=tuple(result.words[index].text for index in chosen),
        sum_negative_attribution=total,
        f_clip_score=f_clip_score(total, result.clip_score),
        provenance=provenance,
    )
    return replace(outcome, result=result)
