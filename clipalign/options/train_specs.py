"""Options of ``train-specs``."""

from typing import Annotated, TypedDict

from clipalign.options.everywhere import DocumentFormat, EverywhereOptions
from clipalign.options.many import AgainOptions, ImageRoot
from clipalign.options.model import MachineOptions
from clipalign.options.option import DATA_PANEL, MODEL_PANEL, OUTPUT_PANEL, TRAINING_PANEL, option
from clipalign.options.score_long import By
from clipalign.registry import model_names
from clipalign.settings.choices import TOWERS


class _DataOptions(TypedDict, total=False):
    data: Annotated[
        str | None,
        option(
            "--data",
            value="DIR|pictogram[:N]",
            help="Training samples: a folder that --prepare wrote, or generated scenes.",
            panel=DATA_PANEL,
        ),
    ]
    prepare: Annotated[
        str | None,
        option(
            "--prepare",
            value="FILE|DIR",
            help="First make training samples of raw captions (JSON lines, ShareGPT4V's JSON, a folder of DCI), in "
            "--data.",
            panel=DATA_PANEL,
        ),
    ]
    image_root: ImageRoot
    by: By
    held_out: Annotated[
        str | None,
        option(
            "--held-out",
            value="N",
            help="Samples for validation, never trained on.",
            default="300",
            panel=DATA_PANEL,
        ),
    ]
    workers: Annotated[
        str | None,
        option(
            "--workers",
            value="N",
            help="Processes that prepare, threads that decode.",
            default="one for each processor",
            panel=DATA_PANEL,
        ),
    ]
    init: Annotated[
        str | None,
        option(
            "--init",
            value="NAME[@WEIGHTS]",
            help="The model to start from, as for --model; fewer than 248 tokens are stretched.",
            default="specs-base",
            panel=MODEL_PANEL,
            choices=model_names,
        ),
    ]
    output: Annotated[
        str | None,
        option(
            "--output",
            "-o",
            value="DIR",
            help="Where weights, checkpoints and metrics go; a folder that holds them already is refused without "
            "--resume or --overwrite.",
            panel=OUTPUT_PANEL,
        ),
    ]


class _StepOptions(TypedDict, total=False):
    epochs: Annotated[
        str | None,
        option("--epochs", value="N", help="Passes over the data.", default="6", panel=TRAINING_PANEL),
    ]
    batch_size: Annotated[
        str | None,
        option("--batch-size", value="N", help="Samples a process and a batch.", default="100", panel=TRAINING_PANEL),
    ]
    accumulate: Annotated[
        str | None,
        option("--accumulate", value="N", help="Batches a step.", default="4", panel=TRAINING_PANEL),
    ]
    draws: Annotated[
        str | None,
        option(
            "--draws",
            value="N",
            help="Beginnings of each caption that a step reads; more cost little.",
            default="1, as published",
            panel=TRAINING_PANEL,
        ),
    ]
    learning_rate: Annotated[
        str | None,
        option(
            "--learning-rate",
            value="X",
            help="At its height; it falls as a cosine.",
            default="1e-5",
            panel=TRAINING_PANEL,
        ),
    ]
    warmup_steps: Annotated[
        str | None,
        option(
            "--warmup-steps",
            value="N",
            help="Steps in which the learning rate rises.",
            default="40",
            panel=TRAINING_PANEL,
        ),
    ]
    weight_decay: Annotated[
        str | None,
        option("--weight-decay", value="X", help="Of AdamW.", default="0.01", panel=TRAINING_PANEL),
    ]
    clip_norm: Annotated[
        str | None,
        option(
            "--clip-norm",
            value="X",
            help="What the norm of the gradients is cut to.",
            default="1",
            panel=TRAINING_PANEL,
        ),
    ]


class _ObjectiveOptions(TypedDict, total=False):
    lambda_contrastive: Annotated[
        str | None,
        option(
            "--lambda-contrastive",
            value="X",
            help="Weight of telling the captions of a batch apart.",
            default="1",
            panel=TRAINING_PANEL,
        ),
    ]
    lambda_detail: Annotated[
        str | None,
        option(
            "--lambda-detail",
            value="X",
            help="Weight of true details, which should raise the score.",
            default="8",
            panel=TRAINING_PANEL,
        ),
    ]
    lambda_negative: Annotated[
        str | None,
        option(
            "--lambda-negative",
            value="X",
            help="Weight of wrong details, which should lower it.",
            default="0.8",
            panel=TRAINING_PANEL,
        ),
    ]
    lambda_short: Annotated[
        str | None,
        option(
            "--lambda-short",
            value="X",
            help="Weight of telling short captions and pictures apart, lest that be forgotten.",
            default="0, as published",
            panel=TRAINING_PANEL,
        ),
    ]
    epsilon: Annotated[
        str | None,
        option(
            "--epsilon",
            value="X",
            help="By how much details should raise or lower the score, in units of the scaled cosine; 0 adapts it.",
            default="0",
            panel=TRAINING_PANEL,
        ),
    ]
    gather: Annotated[
        bool | None,
        option(
            "--gather/--no-gather",
            help="Tell captions apart from the pictures of all processes, not only of their own.",
            default="no",
            panel=TRAINING_PANEL,
        ),
    ]
    freeze: Annotated[
        list[str] | None,
        option(
            "--freeze",
            value="|".join(TOWERS),
            help="A tower that does not learn. May be repeated.",
            default="none",
            panel=TRAINING_PANEL,
            choices=TOWERS,
        ),
    ]
    blend: Annotated[
        str | None,
        option(
            "--blend",
            value="X",
            help="Share of the trained weights in the best ones; the rest are the start's, so that less of it is lost.",
            default="1, as published",
            panel=TRAINING_PANEL,
        ),
    ]


class _RunOptions(TypedDict, total=False):
    recompute: Annotated[
        bool | None,
        option(
            "--recompute/--no-recompute",
            help="Save memory: compute inner states again in the backward pass.",
            default="no",
            panel=TRAINING_PANEL,
        ),
    ]
    validate_every: Annotated[
        str | None,
        option(
            "--validate-every",
            value="N",
            help="Steps between validations.",
            default="once an epoch",
            panel=TRAINING_PANEL,
        ),
    ]
    save_every: Annotated[
        str | None,
        option("--save-every", value="N", help="Steps between checkpoints.", default="100", panel=TRAINING_PANEL),
    ]
    format: DocumentFormat


class TrainSpecsOptions(
    _DataOptions,
    AgainOptions,
    _StepOptions,
    _ObjectiveOptions,
    _RunOptions,
    MachineOptions,
    EverywhereOptions,
    total=False,
):
    """Of ``train-specs``, in the order of its help."""
