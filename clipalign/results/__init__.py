"""What leaves a room: frozen records, one meaning a field, with unit, range and direction.

Nothing here computes or prints; ``report`` knows how they look. Torch-free.
"""

from clipalign.results.classify import ClassifyResult, ClassScore, CropWeight, DescriptionWeight
from clipalign.results.detect import DetectResult, WordScore
from clipalign.results.evaluate import (
    Calibration,
    ComparedMetric,
    Comparison,
    Distribution,
    EvalResult,
    Example,
    LayerCalibration,
    Metric,
    Published,
    Showcase,
)
from clipalign.results.provenance import Provenance
from clipalign.results.score_long import LongResult, SentenceScore

__all__ = [
    "Calibration",
    "ClassScore",
    "ClassifyResult",
    "ComparedMetric",
    "Comparison",
    "CropWeight",
    "DescriptionWeight",
    "DetectResult",
    "Distribution",
    "EvalResult",
    "Example",
    "LayerCalibration",
    "LongResult",
    "Metric",
    "Provenance",
    "Published",
    "SentenceScore",
    "Showcase",
    "WordScore",
]
