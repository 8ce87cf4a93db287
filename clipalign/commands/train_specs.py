"""Options of ``train-specs``.

``clipalign train-specs``: a CLIP learns to tell true details of long captions from wrong ones.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Final, TypedDict, Unpack

from clipalign.commands.common import choose_model
from clipalign.commands.options import (
    DATA_PANEL,
    MODEL_PANEL,
    OUTPUT_PANEL,
    TRAINING_PANEL,
    AgainOptions,
    DocumentFormat,
    EverywhereOptions,
    ImageRoot,
    MachineOptions,
    one_by_one,
    option,
    settle,
)
from clipalign.commands.score_long import By
from clipalign.config.choices import TOWERS
from clipalign.config.values import Settings
from clipalign.errors import DISK_FULL, EXIT_DONE, UsageError, unwritable
from clipalign.models.registry import find_model, model_names
from clipalign.output import DATA_FORMATS, chosen_format
from clipalign.output.console import notices, write_output

if TYPE_CHECKING:
    from clipalign.training.settings import SpecsResult, SpecsSettings


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


DEFAULT_INIT: Final = "specs-base"
DEFAULT_HELD_OUT: Final = 300
CURVES_FILE: Final = "curves.png"

_RUN_FILES: Final = ("config.json", "best.safetensors", "last.safetensors", "pictures.safetensors", "metrics.jsonl")
_RUN_FOLDERS: Final = ("checkpoints", "tensorboard")


@one_by_one
def train_specs(
    **typed: Unpack[TrainSpecsOptions],
) -> int:
    """Train a CLIP whose score rises with each true detail of a long caption and falls with a wrong one.

    The objective and the defaults are those of SPECS (arXiv 2509.03897). Weights are safetensors that --model takes;
    a run that was stopped goes on with --resume and draws the same loss curve. Several GPUs: torchrun
    --nproc-per-node N -m clipalign train-specs …

    Examples:
      clipalign train-specs --data pictogram --init pictogram --output runs/1
      clipalign train-specs --prepare share.json --image-root images --data specs
      clipalign train-specs --data specs --init ViT-B-32 --output runs/2
      clipalign train-specs --data specs --init ViT-B-32 --output runs/2 --resume
    """
    settings = settle("train-specs", typed)
    _check(settings, typed)
    prepared = _prepared(settings) if settings.prepare is not None else None
    trained = _trained(settings) if settings.output is not None else None
    if _is_first():
        from clipalign.output.training import training_document

        format = chosen_format(settings)
        write_output(training_document(prepared, trained, format=format), is_data=format in DATA_FORMATS)
    return EXIT_DONE


def _is_first() -> bool:
    """Whether this process speaks for all that ``torchrun`` started."""
    return os.environ.get("RANK", "0") == "0"


def _check(settings: Settings, typed: Mapping[str, object]) -> None:
    """What does not make sense together, before torch is imported."""
    if settings.data is None:
        raise UsageError("missing --data", hint="a prepared folder, or pictogram for generated scenes", input="--data")
    if settings.prepare is None and settings.output is None:
        raise UsageError("missing --output", hint="the folder of the run", input="--output")
    if settings.prepare is None:
        for name in ("image_root", "by"):
            if typed.get(name) is not None:
                flag = "--" + name.replace("_", "-")
                raise UsageError(f"{flag} is for --prepare", hint="samples are used as they were prepared", input=flag)
    if settings.prepare is not None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("--prepare is not for torchrun", hint="run it once, with --workers N", input="--prepare")
    if settings.resume and settings.overwrite:
        raise UsageError("--resume and --overwrite exclude each other", hint="take one of them", input="--resume")
    if settings.epsilon is not None and settings.epsilon < 0:
        raise UsageError("--epsilon must be 0 or more", hint="0 adapts it, as published", input="--epsilon")
    for name in ("learning_rate", "clip_norm"):
        if getattr(settings, name) == 0:
            flag = "--" + name.replace("_", "-")
            raise UsageError(f"{flag} must be above 0", hint="leave it out for the default", input=flag)
    if settings.output is not None:
        _check_folder(settings.output, settings)


def _check_folder(folder: Path, settings: Settings) -> None:
    with _writing(folder):
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file", hint="name a folder", input="--output")
        begun = any((folder / name).exists() for name in (*_RUN_FILES, *_RUN_FOLDERS))
    if begun and not settings.resume and not settings.overwrite:
        raise UsageError(
            f"{folder} holds a run already", hint="--resume goes on with it, --overwrite replaces it", input="--output"
        )


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Around what touches the folder of a run and nothing else: what fails there is said of it."""
    try:
        yield
    except OSError as error:
        from clipalign.files import write_failed

        raise write_failed(str(error.filename or folder), error) from error


def _prepared(settings: Settings) -> Any:
    from clipalign.training.data import open_source
    from clipalign.training.prepare import PrepareSettings, prepare

    assert settings.prepare is not None and settings.data is not None
    source = open_source(settings.prepare)
    done = 0

    def told(records: int) -> None:
        nonlocal done
        done += records
        notices.inform(f"{done} raw captions cut")

    chosen = PrepareSettings(seed=settings.seed, by=settings.by or PrepareSettings().by)
    folder = Path(settings.data).expanduser()
    try:
        prepared = prepare(
            source,
            folder,
            chosen,
            image_root=settings.image_root,
            workers=settings.workers or os.cpu_count() or 1,
            told=told,
        )
        if prepared.finished_before:
            notices.tell(f"{folder} was prepared before, with these settings; nothing is done again")
        return prepared
    except OSError as error:
        full = error.errno in DISK_FULL
        again = "make room and run the same line again: it goes on with the part it was at"
        raise unwritable(error)(
            f"{folder} cannot be written to: {'the disk is full' if full else error.strerror or error}",
            hint=again if full else "make it writable, or give another --data",
            input="--data",
        ) from error


def _trained(settings: Settings) -> SpecsResult:
    """The route, cheapest check first: names, whether the weights are here, then the data, before they load."""
    from clipalign.runs.distributed import with_own_device

    folder, name = settings.output, settings.data
    assert folder is not None and name is not None
    row = find_model(settings.init or DEFAULT_INIT)
    settings = with_own_device(settings)
    chosen = choose_model(row, replace(settings, precision="auto"), option="--init")  # weights stay fp32

    from clipalign.device import choose_device
    from clipalign.files import exclusive
    from clipalign.output.training import TrainingDisplay
    from clipalign.training.checkpoints import check_settings, last_checkpoint, settings_of
    from clipalign.training.data import PreparedData, open_data
    from clipalign.training.distributed import join_world
    from clipalign.training.loop import SpecsRun
    from clipalign.training.model import make_trainee
    from clipalign.training.settings import Intervals

    held_out = DEFAULT_HELD_OUT if settings.held_out is None else settings.held_out
    data = open_data(name, held_out=held_out)
    if settings.held_out is not None and isinstance(data, PreparedData) and data.held < held_out and _is_first():
        notices.warn(f"only {data.held} samples are held out: {name} is small, and at most a tenth of it may be")
    arithmetic = choose_device(settings.device, settings.precision, settings.threads)
    if settings.precision not in ("auto", arithmetic.precision):
        notices.warn(arithmetic.reason)
    recipe = _recipe(settings, arithmetic.precision)
    with _writing(folder):
        found = last_checkpoint(folder) if settings.resume else None
    if found is not None and (begun := settings_of(found)):
        asked = recipe.identity()
        check_settings({name: begun.get(name) for name in asked}, asked, folder)
    trainee = make_trainee(chosen.load(), frozen=recipe.frozen, recompute=recipe.recompute)
    for note in trainee.loaded.notes:
        notices.inform(note)
    intervals = Intervals(
        validate_every=settings.validate_every or 0,
        save_every=settings.save_every or Intervals().save_every,
        workers=settings.workers or os.cpu_count() or 1,
    )
    with join_world(trainee.loaded.choice.device) as world, _asked_to_stop() as stop:
        if world.is_first:
            with _writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
                if settings.overwrite:
                    _clear(folder)
        world.wait()
        with ExitStack() as held, TrainingDisplay(shown=world.is_first) as display:
            if world.is_first:
                with _writing(folder):
                    held.enter_context(exclusive(folder / ".lock", remove=True))
            run = SpecsRun(
                folder, trainee, data, recipe, intervals, world=world, listener=display, stop=stop,
                resume=settings.resume,
            )  # fmt: skip
            try:
                result = run.train()
            except KeyboardInterrupt:
                kept = last_checkpoint(folder)  # the step that was at work is not in it
                notices.kept = f"{kept} is saved; go on with --resume" if kept else "nothing is saved yet"
                raise
    if world.is_first:
        _draw(folder)
    return result


def _recipe(settings: Settings, precision: str) -> SpecsSettings:
    """Published settings, but for what was asked for."""
    from clipalign.training.loss import SpecsWeights
    from clipalign.training.settings import SpecsSettings

    terms = {
        "contrastive": settings.lambda_contrastive,
        "detail": settings.lambda_detail,
        "negative": settings.lambda_negative,
        "short": settings.lambda_short,
        "epsilon": settings.epsilon,
    }
    names = ("epochs", "batch_size", "accumulate", "draws", "learning_rate", "warmup_steps", "weight_decay")
    given = {name: getattr(settings, name) for name in (*names, "clip_norm", "blend")}
    recipe = SpecsSettings(
        weights=replace(SpecsWeights(), **{name: value for name, value in terms.items() if value is not None}),
        gather=settings.gather,
        frozen=tuple(sorted(set(settings.freeze))),
        precision=precision,
        recompute=settings.recompute,
        seed=settings.seed,
    )
    return replace(recipe, **{name: value for name, value in given.items() if value is not None})


def _clear(folder: Path) -> None:
    """Take an earlier run's own files away, and nothing else."""
    for name in _RUN_FILES:
        (folder / name).unlink(missing_ok=True)
    for name in _RUN_FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or a request to end came; a step is finished and saved first. A second Ctrl-C ends at once."""
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        notices.tell("ending after this step; once more to end at once")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _draw(folder: Path) -> None:
    """The curves as a picture, where the library for it is there."""
    from clipalign.errors import MissingExtra
    from clipalign.output.training import draw_curves
    from clipalign.training.checkpoints import read_metrics

    try:
        draw_curves(read_metrics(folder), folder / CURVES_FILE)
    except MissingExtra as error:
        notices.inform(f"{error.message}: {error.hint}")
    except OSError as error:
        notices.warn(f"{CURVES_FILE} could not be written: {error.strerror or error}")
