"""The words that settings may be, and which of them a command has."""

from __future__ import annotations

from typing import Final

from clipalign.models.registry import LONG_MODEL

FORMATS: Final = ("table", "json", "jsonl", "csv", "html", "github")
FORMATS_OF: Final[dict[str, tuple[str, ...]]] = {
    "eval": ("table", "json"),
    "download": ("table", "json"),
    "train-specs": ("table", "json"),
}
"""Commands that have fewer of them."""

MODELS_OF: Final = {"score-long": LONG_MODEL}
"""Commands whose default model is another."""

METHODS: Final = ("wca", "clip", "clip-e", "clip-d", "waffle", "cupl")
DESCRIBED_DATASETS: Final = ("cub", "dtd", "food101", "imagenet", "oxford_pet", "place365")
"""Data sets whose classes have published descriptions."""

ERROR_RULES: Final = ("skip", "fail")
PROTOCOLS: Final = ("paper", "exif")
REPORTS: Final = ("html",)
SWEPT: Final = ("model", "layers", "epsilon", "mode", "alignment", "template")
"""What ``--sweep`` goes through."""
PIECES: Final = ("sentence", "phrase")
TOWERS: Final = ("image", "text")
MODES: Final = ("threshold", "most-negative")
ALIGNMENTS: Final = ("published", "characters")
PRECISIONS: Final = ("auto", "fp32", "bf16", "fp16")
DEVICES: Final = ("auto", "cpu", "cuda", "mps")
MAX_SEED: Final = 2**63 - 1
"""The largest seed every random generator in use takes."""
