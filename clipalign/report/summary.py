"""What a run over many records found, in lines and on the page: the same summary that stands in JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from clipalign.report.records import RecordView

SCORE_NAMES: Final = {
    "cosine": "cosine",
    "clip_score": "CLIPScore",
    "f_clip_score": "F-CLIPScore",
    "ref_clip_score": "RefCLIPScore",
    "specs_score": "SPECS score",
}
"""How scores are called where people read them."""

_SIGNIFICANT: Final = 3


def score_name(key: str) -> str:
    """``clip_score`` as people call it."""
    return SCORE_NAMES.get(key, key.replace("_", " "))


def number_text(value: float) -> str:
    """Four decimals, or three significant digits of a small number; F-CLIPScores lie near -1e-4."""
    if value == 0.0 or abs(value) >= 0.1:
        return f"{value:.4f}"
    return f"{value:.{max(4, _SIGNIFICANT - 1 - math.floor(math.log10(abs(value))))}f}"


def counted(number: int, noun: tuple[str, str]) -> str:
    """``1 pair``, ``3,000 pairs``."""
    return f"{number:,} {noun[0] if number == 1 else noun[1]}"


def summary_lines(view: RecordView, summary: Mapping[str, Any]) -> list[str]:
    """Counts, means and the most frequent words, a line each; lines with nothing to say are left out."""
    return [line for line in (_counts(view, summary), _means(view, summary), _frequent(view, summary)) if line]


def _counts(view: RecordView, summary: Mapping[str, Any]) -> str:
    pieces = []
    if summary["unreadable"]:
        kinds = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in summary["errors"].items())
        pieces.append(f"{summary['unreadable']:,} unreadable ({kinds})")
    if view.found_name:
        pieces.append(f"{summary[view.found_name]:,} {view.found_name.replace('_', ' ')}")
    if summary["with_warnings"]:
        pieces.append(f"{summary['with_warnings']:,} with warnings")
    return f"{counted(summary['records'], view.noun)}{': ' if pieces else ''}{', '.join(pieces)}"


def _means(view: RecordView, summary: Mapping[str, Any]) -> str:
    means = [(name, summary["mean"][name]) for name in view.scores]
    shown = [f"{score_name(name)} {number_text(value)}" for name, value in means if value is not None]
    return f"mean {', '.join(shown)}" if shown else ""


def _frequent(view: RecordView, summary: Mapping[str, Any]) -> str:
    words = summary.get(view.frequent_name) or []
    if not words:
        return ""
    about = "at least " if summary["counts_are_lower_bounds"] else ""
    named = ", ".join(f"{word['text']} {about}{word['count']}" for word in words)
    return f"most frequent {view.frequent_name.replace('_', ' ')}: {named}"
