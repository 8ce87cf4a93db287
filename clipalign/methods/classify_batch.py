"""``classify`` for batch runs: a picture and its crops travel as one tensor, with the places of the crops in front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy
import torch

from clipalign.errors import ClipalignError, ModelMismatch
from clipalign.methods.scorer import ScoreItem
from clipalign.results import ClassifyResult, Provenance

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from clipalign.methods.classify import Classifier
    from clipalign.pipeline.crops import Box

AHEAD_SQUARES: Final = 512
"""Prepared pictures and crops held at most, 77 MB at 224 pixels; at least four pictures with all their crops."""

LONGEST_WINDOW: Final = 64
"""Records scored together, at most; a picture takes its crops' time whatever stands beside it."""

_BOX: Final = 4
_BOX_BYTES: Final = 16


@dataclass(frozen=True)
class ClassifyScorer:
    """A classifier that says which class each record's picture shows; a ``clipalign.methods.scorer.Scorer``.

    Attributes:
        classifier: with its classes encoded.
    """

    classifier: Classifier

    @property
    def provenance(self) -> Provenance:
        """See :class:`clipalign.methods.scorer.Scorer`."""
        return self.classifier.provenance

    @property
    def window_records(self) -> int:
        """See :class:`clipalign.methods.scorer.Scorer`."""
        return min(LONGEST_WINDOW, self.pictures_ahead)

    @property
    def pictures_ahead(self) -> int:
        """See :class:`clipalign.methods.scorer.Scorer`."""
        settings = self.classifier.settings
        each = 1 + (settings.crops if settings.method == "wca" else 0)
        return max(4, AHEAD_SQUARES // each)

    def prepare(self, picture: Image) -> Tensor:
        """Boxes and pixels in one row of bytes: 16 * (1 + N) and (1 + N) * 3 * S * S."""
        prepared = self.classifier.prepare(picture)
        # Not with torch, which would start threads of its own in every thread that prepares pictures.
        boxes = numpy.array([(0, 0, *prepared.size), *prepared.boxes], dtype=numpy.int32)
        return torch.from_numpy(numpy.concatenate((boxes.view(numpy.uint8).ravel(), prepared.pixels.numpy().ravel())))

    def encode(self, prepared: Sequence[Tensor]) -> list[Tensor | ClipalignError]:
        """For each picture its unit vectors, each behind its box (1 + N, 4 + E), in fp64 that holds both exactly."""
        side = self.classifier.loaded.image_size
        each = _BOX_BYTES + 3 * side * side
        boxes, pixels = [], []
        for packed in prepared:
            end = _BOX_BYTES * (len(packed) // each)
            boxes.append(packed[:end].clone().view(torch.int32).view(-1, _BOX))
            pixels.append(packed[end:].view(-1, side, side, 3))
        return [
            features if isinstance(features, ClipalignError) else torch.cat((box.double(), features.double()), dim=1)
            for box, features in zip(boxes, self._encoded(pixels), strict=True)
        ]

    def _encoded(self, pixels: Sequence[Tensor]) -> list[Tensor | ClipalignError]:
        """The features of each, on the CPU; where one comes out as no numbers, the others are not lost."""
        try:
            return [features.cpu() for features in self.classifier.encode(pixels)]
        except ModelMismatch as error:
            if len(pixels) == 1:
                return [error]
        return [found for one in pixels for found in self._encoded([one])]

    def score(self, items: Sequence[ScoreItem]) -> list[ClassifyResult | ClipalignError]:
        """A result for each, or why it has none."""
        return [self._scored(item) for item in items]

    def _scored(self, item: ScoreItem) -> ClassifyResult | ClipalignError:
        whole, *boxes = [_box(row) for row in item.features[:, :_BOX].tolist()]
        features = item.features[:, _BOX:].float().to(self.classifier.loaded.choice.device)
        try:
            return self.classifier.result(
                features, boxes, whole[2:], id=item.record.id, image_name=item.record.image_name
            )
        except ModelMismatch as error:
            return error


def _box(row: Sequence[float]) -> Box:
    left, top, right, bottom = map(int, row)
    return left, top, right, bottom
