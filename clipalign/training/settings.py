"""What a training run is told, what it tells while it runs, and what it leaves behind."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from clipalign.training.loss import SpecsWeights
from clipalign.training.validation import Increments


@dataclass(frozen=True, slots=True)
class SpecsSettings:
    """Everything that decides the weights, but for the data and the start. The defaults are the published ones.

    Attributes:
        epochs: over the data.
        batch_size: samples a process and a batch.
        accumulate: batches a step.
        draws: beginnings a caption and a step; published is one. More of them cost little, as they share their tokens.
        learning_rate: at its height, after the warm-up; it falls to zero as a cosine.
        warmup_steps: of its linear rise.
        weight_decay: of AdamW.
        clip_norm: the norm that the gradients are cut to.
        weights: of the terms of the objective, and epsilon.
        gather: whether captions are told apart from the pictures of all processes, not only of their own.
        frozen: towers that do not learn.
        blend: share of the trained weights in those that are validated and kept as the best, above 0 and at most 1; the
            rest are the start's. Weights on the line between the two keep more of what the start could do (WiSE-FT,
            Wortsman et al., CVPR 2022).
        precision: of the arithmetic, ``fp32``, ``bf16`` or ``fp16`` (published is a mixed one); weights are fp32.
        recompute: whether inner states are computed twice, to save memory.
        seed: of the order, and of where captions are cut.
    """

    epochs: int = 6
    batch_size: int = 100
    accumulate: int = 4
    draws: int = 1
    learning_rate: float = 1e-5
    warmup_steps: int = 40
    weight_decay: float = 1e-2
    clip_norm: float = 1.0
    weights: SpecsWeights = field(default_factory=SpecsWeights)
    gather: bool = False
    frozen: tuple[str, ...] = ()
    blend: float = 1.0
    precision: str = "fp32"
    recompute: bool = False
    seed: int = 0

    def identity(self) -> dict[str, Any]:
        """Plain numbers and words, for a checkpoint: what must be the same when a run is gone on with."""
        settings = asdict(self)
        weights = {f"weight of {name}" if name != "epsilon" else name: v for name, v in settings.pop("weights").items()}
        return settings | weights | {"frozen": list(self.frozen)}


@dataclass(frozen=True, slots=True)
class Intervals:
    """What is done between steps; none of it decides the weights.

    Attributes:
        validate_every: steps from one validation to the next; 0 for once an epoch.
        save_every: steps from one checkpoint to the next.
        workers: threads that decode pictures and tokenize.
    """

    validate_every: int = 0
    save_every: int = 100
    workers: int = 2


class Listener(Protocol):
    """Who watches a run."""

    def begins(self, step: int, steps: int) -> None:
        """Training goes on after ``step`` of ``steps``."""

    def pictures(self, done: int, total: int) -> None:
        """Pictures are encoded before the first step."""

    def step(self, record: Mapping[str, Any]) -> None:
        """A step is done."""

    def validated(self, step: int, increments: Increments, *, best: bool) -> None:
        """The held-out samples are measured."""

    def warn(self, message: str) -> None:
        """Something the user should know."""


class SpecsResult(NamedTuple):
    """What a run left behind.

    Attributes:
        folder: of the run.
        steps: done in all.
        before: increments before the first step; None without held-out samples.
        best: increments of ``best.safetensors``.
        best_step: its step; 0 for the start.
        skipped_steps: steps without a move, because gradients were not finite.
    """

    folder: Path
    steps: int
    before: Increments | None
    best: Increments | None
    best_step: int
    skipped_steps: int


def learning_rate(step: int, steps: int, settings: SpecsSettings) -> float:
    """Linear warm-up, then a cosine to zero; ``step`` counts from 0."""
    warmup = min(settings.warmup_steps, steps)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
