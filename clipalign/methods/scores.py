"""Scores of a pair from its cosines, where a result comes from, and what a method provides for a batch run.

CLIPScore and RefCLIPScore (Hessel et al., EMNLP 2021), F-CLIPScore (CLIP4DM), SPECS (Chen et al., 2025).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from clipalign.data.records import InputRecord
from clipalign.errors import ClipalignError, name_some
from clipalign.results import Provenance
from clipalign.version import versions

if TYPE_CHECKING:
    from PIL.Image import Image

    from clipalign.models.model import LoadedModel


CLIP_SCORE_WEIGHT = 2.5  # w of CLIPScore = w · max(c, 0) (Hessel et al., 2021)


def clip_score(cosine: float) -> float:
    """``2.5 · max(cosine, 0)``, 0 to 2.5, higher fits better (Hessel et al., 2021)."""
    return CLIP_SCORE_WEIGHT * max(cosine, 0.0)


def f_clip_score(sum_negative_attribution: float, score: float) -> float:
    """``sum_negative_attribution · (1 − clip_score / 2.5)``; the closer to 0 the better the fit (CLIP4DM)."""
    return sum_negative_attribution * (1.0 - score / CLIP_SCORE_WEIGHT)


def ref_clip_score(score: float, reference_cosine: float) -> float:
    """Harmonic mean of CLIPScore and ``2.5 · max(reference_cosine, 0)``, 0 to 2.5, higher fits better.

    ``reference_cosine`` is the maximum over all references, as in Hessel et al. (2021).
    """
    reference = clip_score(reference_cosine)
    return 2.0 * score * reference / (score + reference) if score + reference > 0.0 else 0.0


def reference_cosine_of(score: float, ref_score: float) -> float | None:
    """The cosine of the nearest reference, from CLIPScore and RefCLIPScore; None where one is 0 and does not tell."""
    return score * ref_score / (2.0 * score - ref_score) / 2.5 if score > 0.0 and ref_score > 0.0 else None


def specs_score(cosine: float) -> float:
    """``(cosine + 1) / 2``, 0 to 1, higher fits better (SPECS, Chen et al., 2025); its cosines are often negative."""
    return min(1.0, max(0.0, (cosine + 1.0) / 2.0))


FAST_DECODE_MARGIN = 3  # how many times the model's input the shorter side of a reduced picture has, at least


def decoding_fast(loaded: LoadedModel, wanted: bool) -> LoadedModel:
    """Return the model with large JPEG files decoded at reduced scale, if wanted."""
    return replace(loaded, shorter_px=FAST_DECODE_MARGIN * loaded.image_size) if wanted else loaded


def provenance_of(
    loaded: LoadedModel, settings: Mapping[str, object], *, seed: int, notes: Sequence[str] = ()
) -> Provenance:
    """Model, weights, device, versions and every setting that reached the computation, defaults included.

    ``notes`` are added to those on the device and on the loading of the model.
    """
    return Provenance(
        model=loaded.row.name,
        architecture=loaded.architecture,
        weights_sha256=loaded.weights_sha256,
        quick_gelu=loaded.quick_gelu,
        device=loaded.choice.device,
        precision=loaded.choice.precision,
        engine=loaded.choice.engine,
        seed=seed,
        versions=versions(loaded.choice.engine),
        settings={**settings, **({"fast_decode": True} if loaded.shorter_px else {})},
        notes=tuple(filter(None, (loaded.choice.reason, *loaded.notes, *notes))),
    )


def unknown_warning(loaded: LoadedModel, words: Sequence[str]) -> str:
    """The warning about words that an embedded model was not trained on."""
    return f"not in the vocabulary of {loaded.row.name}, scores unreliable: {name_some(words)}"


R_co = TypeVar("R_co", covariant=True)


class ScoreItem(NamedTuple):
    record: InputRecord
    picture: Any


class Scorer(Protocol[R_co]):
    """A method, ready to score the records of a batch run (:mod:`clipalign.runs.batch`) or the samples of a benchmark.

    The types of prepared and encoded pictures are the method's own; with a ``picture_key`` they are
    :class:`~clipalign.data.transforms.PreparedPicture` and :class:`~clipalign.models.encode.EncodedPicture`. Only
    ``prepare`` is called from several threads.
    """

    @property
    def window_records(self) -> int:
        """Records scored together, at most; results do not depend on it beyond rounding."""
        ...

    @property
    def pictures_ahead(self) -> int:
        """Prepared pictures held at most, which bounds memory; ``encode`` gets up to half of them at a time."""
        ...

    @property
    def provenance(self) -> Provenance: ...

    @property
    def picture_key(self) -> dict[str, object] | None:
        """What encoded pictures depend on besides the picture; None where they are not to be kept on disk."""
        ...

    @property
    def shorter_px(self) -> int | None:
        """For :func:`~clipalign.data.images.open_image`."""
        ...

    def prepare(self, picture: Image) -> Any:
        """An RGB picture, or :class:`clipalign.data.in_memory.Prepared`, as ``encode`` takes it; called in threads.

        Raises:
            ClipalignError: this picture cannot be used; its records get the error.
        """
        ...

    def encode(self, prepared: Sequence[Any]) -> Sequence[Any | ClipalignError]:
        """The features of each prepared picture, in order, or why one has none."""
        ...

    def score(self, items: Sequence[ScoreItem]) -> Sequence[R_co | ClipalignError]:
        """A result for each item, in order, or why it has none; at least one item.

        Raises:
            ClipalignError: nothing can be scored, and the run ends: settings out of range, a model that gives no finite
                numbers, a device without memory.
        """
        ...
