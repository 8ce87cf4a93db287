"""What shapes training samples and a training run, and what a run reports; torch-free."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, Final, Protocol

from clipalign.config.groups import MachineSettings
from clipalign.config.readers import MAX_THREADS, between, one_of, several, whole
from clipalign.config.settings import Checked, SameAs, Setting
from clipalign.models.registry import LONG_CONTEXT_TOKENS

if TYPE_CHECKING:
    from clipalign.eval_results import Increments

TOWERS: Final = ("image", "text")

PUBLISHED: Final[dict[str, dict[str, float]]] = {
    "specs": {"batch_size": 100, "accumulate": 4, "learning_rate": 1e-5, "warmup_steps": 40},
    "longclip": {"batch_size": 128, "accumulate": 1, "learning_rate": 1e-6, "warmup_steps": 200},
}
"""Defaults by objective: train/run_spec.sh of SPECS' repository; train/train.md and train.py of Long-CLIP's."""

BEYOND: Final = "Beyond what was published"
"""Panel of the options that depart from the papers; all are off by default."""


@dataclass(frozen=True, kw_only=True)
class PrepareSettings(Checked):
    """Settings of the samples that ``--prepare`` makes; ``shuffled`` is None for what the source was published with."""

    panel = "Data"

    by: Annotated[str, Setting("Unit that captions are cut into.", choices=("sentence", "phrase"))] = "phrase"
    caption_tokens: Annotated[
        int,
        Setting("Longest prefix in tokens, start and end included.", whole(3, LONG_CONTEXT_TOKENS), value="N"),
    ] = LONG_CONTEXT_TOKENS
    shuffled: Annotated[
        float | None,
        Setting(
            "Share of the samples, the first ones, whose wrong details have their words shuffled.",
            between(0.0, 1.0),
            value="X",
            default="0.9, of DCI 0",
        ),
    ] = None
    min_words: Annotated[
        int, Setting("Leave out sentences or phrases of fewer words.", whole(1), value="N", default="1, all of them")
    ] = 1
    limit: Annotated[
        int | None, Setting("Use only the first N samples.", whole(1), short="-n", value="N", default="all")
    ] = None
    seed: Annotated[int, SameAs(MachineSettings)] = 0


@dataclass(frozen=True, kw_only=True)
class SpecsSettings(Checked):
    """Everything that decides the weights, but for the data and the start. The defaults are the published ones.

    ``precision`` is that of the arithmetic (published is fp16 with a scaled loss); weights are fp32. ``blend`` puts
    weights on the line between the start and the trained ones, which keeps more of the start's abilities (WiSE-FT,
    Wortsman et al., CVPR 2022).
    """

    panel = "Training"

    objective: Annotated[
        str,
        Setting(
            "What is learned: true details raise the score, wrong ones lower it (SPECS); or long captions, and their "
            "first sentence by the images' principal components (Long-CLIP).",
            choices=tuple(PUBLISHED),
        ),
    ] = "specs"
    epochs: Annotated[int, Setting("Passes over the data.", whole(1), value="N")] = 6
    batch_size: Annotated[
        int, Setting("Samples per process and batch.", whole(1), value="N", default="100, of longclip 128")
    ] = 0
    accumulate: Annotated[int, Setting("Batches per step.", whole(1), value="N", default="4, of longclip 1")] = 0
    learning_rate: Annotated[
        float,
        Setting(
            "Peak learning rate (cosine decay).", between(0.0, above=True), value="X", default="1e-5, of longclip 1e-6"
        ),
    ] = 0.0
    warmup_steps: Annotated[
        int, Setting("Steps of linear warm-up.", whole(0), value="N", default="40, of longclip 200")
    ] = -1
    weight_decay: Annotated[float, Setting("Weight decay of AdamW.", between(0.0), value="X")] = 1e-2
    lambda_contrastive: Annotated[
        float, Setting("Weight of the contrastive loss over the captions of a batch.", between(0.0), value="X")
    ] = 1.0
    lambda_detail: Annotated[
        float,
        Setting("Weight of the hinge loss for true details, which should raise the score.", between(0.0), value="X"),
    ] = 8.0
    lambda_negative: Annotated[
        float, Setting("Weight of the hinge loss for wrong details, which should lower it.", between(0.0), value="X")
    ] = 0.8
    hinge_margin: Annotated[
        float,
        Setting("Margin of both hinge losses, in units of the scaled cosine; 0 adapts it.", between(0.0), value="X"),
    ] = 0.0
    recompute: Annotated[bool, Setting("Recompute activations in the backward pass, to save memory.")] = False
    clip_norm: Annotated[
        float,
        Setting("Norm that gradients are clipped to; 0 does not clip.", between(0.0), value="X", panel=BEYOND),
    ] = 0.0
    draws: Annotated[
        int, Setting("Caption prefixes sampled per step; more of them cost little.", whole(1), value="N", panel=BEYOND)
    ] = 1
    lambda_short: Annotated[
        float,
        Setting(
            "Weight of a contrastive loss over short captions, so that they are not forgotten.",
            between(0.0),
            value="X",
            panel=BEYOND,
        ),
    ] = 0.0
    gather: Annotated[
        bool,
        Setting(
            "Contrast captions with the images of all processes, not only their own; longclip always does.",
            panel=BEYOND,
        ),
    ] = False
    freeze: Annotated[
        tuple[str, ...],
        Setting(
            "Tower whose weights stay fixed. May be repeated.",
            several(one_of(*TOWERS)),
            choices=TOWERS,
            default="none",
            panel=BEYOND,
        ),
    ] = ()
    blend: Annotated[
        float,
        Setting(
            "Share of the trained weights in the best ones, the rest are the start's, from 0.01 to 1.",
            between(0.01, 1.0),
            value="X",
            panel=BEYOND,
        ),
    ] = 1.0
    precision: str = "fp32"
    seed: Annotated[int, SameAs(MachineSettings)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in PUBLISHED[self.objective].items():
            if getattr(self, name) == SpecsSettings.__dataclass_fields__[name].default:
                object.__setattr__(self, name, value)

    def identity(self) -> dict[str, Any]:
        """Plain numbers and words, for a checkpoint: what must be the same when a run is resumed."""
        named = {field.name: getattr(self, field.name) for field in fields(SpecsSettings)}
        return named | {"freeze": sorted(set(self.freeze))}


@dataclass(frozen=True, kw_only=True)
class Intervals(Checked):
    panel = "Training"

    validate_every: Annotated[
        int, Setting("Steps between validations.", whole(1), value="N", default="once per epoch")
    ] = 0
    save_every: Annotated[int, Setting("Steps between checkpoints.", whole(1), value="N")] = 100
    workers: Annotated[
        int,
        Setting(
            "Processes that prepare, threads that decode.",
            whole(1, MAX_THREADS),
            value="N",
            default="one per processor",
            panel="Data",
        ),
    ] = os.cpu_count() or 1


class Listener(Protocol):
    """Receives the events of a run."""

    def begins(self, step: int, steps: int) -> None:
        """Training goes on after ``step`` of ``steps``."""

    def pictures(self, done: int, total: int) -> None:
        """Pictures are encoded before the first step."""

    def step(self, record: Mapping[str, Any]) -> None:
        """A step is done."""

    def validated(self, step: int, increments: "Increments", *, best: bool) -> None:
        """The held-out samples are measured."""

    def warn(self, message: str) -> None:
        """Something the user should know."""


def learning_rate(step: int, steps: int, settings: SpecsSettings) -> float:
    """Linear warm-up, then cosine decay, as published; ``step`` counts from 0.

    The process of SPECS whose weights are kept counts a step before it makes it: its first one runs at twice the
    initial rate of the warm-up, and its last one at 0. Long-CLIP starts at the initial rate.
    """
    step += settings.objective == "specs"
    warmup = settings.warmup_steps
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
