"""The settings of the three methods as keywords, for checkers of types; a test holds them to the settings' classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Literal, TypedDict

from clipalign.calibration import SavedCalibration


class DetectKeywords(TypedDict, total=False):
    """Fields of ``clipalign.methods.settings.DetectSettings``."""

    mode: Literal["threshold", "most-negative"]
    epsilon: float | None
    layers: int | None
    template: str
    calibration: SavedCalibration | str | PathLike[str] | None
    suggest: int
    candidates: Path | None
    explain: bool
    fast_decode: bool
    batch_size: int
    seed: int


class ClassifyKeywords(TypedDict, total=False):
    """Fields of ``clipalign.methods.settings.ClassifySettings``."""

    method: Literal["wca", "clip", "clip-e", "clip-d", "waffle", "cupl"] | None
    crops: int
    alpha: float
    image_logscale: float
    text_logscale: float
    template: str
    top: int
    probabilities: bool
    reject_below: float | None
    explain: bool
    batch_size: int | None
    seed: int


class ClassKeywords(ClassifyKeywords, total=False):
    """The same, and what classes are compared by, beside their names."""

    descriptions: Mapping[str, Sequence[str]] | None
    templates: Sequence[str]
    words: Sequence[str]


class LongKeywords(TypedDict, total=False):
    """Fields of ``clipalign.methods.settings.LongSettings``."""

    by: Literal["sentence", "phrase"]
    contribution: Literal["shapley", "leave-one-out", "increment"]
    margin: float
    stretch: bool
    fast_decode: bool
    batch_size: int
    seed: int
