"""Where a number comes from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a number comes from; travels with every result.

    Attributes:
        model: registry name or specification as given.
        architecture: open_clip architecture, config file, or the shapes in words.
        weights_sha256: hash of the weights file.
        quick_gelu: whether the towers used QuickGELU.
        device: resolved device, for example ``cpu`` or ``cuda:0``.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        seed: the seed of the command; detect itself draws nothing.
        versions: of clipalign, torch, open_clip and pillow.
        settings: every setting that reached the computation, defaults included.
        notes: fallbacks in device or precision, and other things a reader must know.
    """

    model: str
    architecture: str
    weights_sha256: str
    quick_gelu: bool
    device: str
    precision: str
    seed: int
    versions: dict[str, str]
    settings: dict[str, object]
    notes: tuple[str, ...] = ()
