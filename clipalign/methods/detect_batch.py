"""``detect`` for batch runs: pictures and texts of a stream of records, scored a window at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from clipalign.device import halving
from clipalign.errors import ClipalignError
from clipalign.methods.detect import Pair, detect_each, detect_provenance
from clipalign.methods.detect_settings import DetectSettings
from clipalign.methods.scorer import ScoreItem
from clipalign.pipeline.encoder import encode_prepared
from clipalign.pipeline.image_tensors import to_tensor
from clipalign.results import DetectResult, Provenance

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from clipalign.pipeline.loaded import LoadedModel

WINDOW_BATCHES: Final = 4
"""Batches of texts in a window: enough for neighbours in sorted order to share beginnings, few enough to be lost."""


@dataclass(frozen=True)
class DetectScorer:
    """A model that says which words of a record's text do not fit its picture; a ``clipalign.methods.scorer.Scorer``.

    Attributes:
        loaded: the model.
        settings: of ``detect``.
        provenance: of every result.
    """

    loaded: LoadedModel
    settings: DetectSettings
    provenance: Provenance

    @classmethod
    def of(cls, loaded: LoadedModel, settings: DetectSettings) -> DetectScorer:
        """With the settings checked.

        Raises:
            UsageError: a setting out of its range.
        """
        return cls(loaded, settings, detect_provenance(loaded, settings))

    @property
    def window_records(self) -> int:
        """See :class:`clipalign.methods.scorer.Scorer`."""
        return WINDOW_BATCHES * self.settings.batch_size

    @property
    def pictures_ahead(self) -> int:
        """See :class:`clipalign.methods.scorer.Scorer`."""
        return 2 * self.settings.batch_size

    def prepare(self, picture: Image) -> Tensor:
        """The picture as the model wants it (3, S, S)."""
        return to_tensor(picture, self.loaded)

    def encode(self, prepared: Sequence[Tensor]) -> Sequence[Tensor | ClipalignError]:
        """Unit vectors (E), or the error of a picture that the model turns into numbers that are not finite."""
        return halving(self.settings.batch_size, lambda size: encode_prepared(self.loaded, prepared, batch_size=size))

    def score(self, items: Sequence[ScoreItem]) -> list[DetectResult | ClipalignError]:
        """A result for each, or why it has none."""
        pairs = [
            Pair(features, record.text, record.references, record.id, record.image_name) for record, features in items
        ]
        return detect_each(self.loaded, pairs, self.settings)
