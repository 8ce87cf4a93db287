"""Scores of a pair from its cosines: CLIPScore, RefCLIPScore (Hessel et al., EMNLP 2021), F-CLIPScore (CLIP4DM) and
SPECS (Chen et al., 2025)."""

from __future__ import annotations

CLIP_SCORE_WEIGHT = 2.5
"""w of CLIPScore = w · max(c, 0) (Hessel et al., 2021)."""


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


def specs_score(cosine: float) -> float:
    """``(cosine + 1) / 2``, 0 to 1, higher fits better (SPECS, Chen et al., 2025); its cosines are often negative."""
    return min(1.0, max(0.0, (cosine + 1.0) / 2.0))
