"""``clipalign train-specs``: a CLIP learns to tell true details of long captions from wrong ones."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Final

from clipalign.commands.common import choose_model
from clipalign.commands.options import expand_options
from clipalign.config.groups import MachineSettings, RecordSettings, RunSettings
from clipalign.config.readers import whole
from clipalign.config.settings import SameAs, Setting, flag_name, refuse
from clipalign.device import choose_device
from clipalign.errors import DISK_FULL, EXIT_DONE, UsageError
from clipalign.files import exclusive, write_failed, writing
from clipalign.models.registry import find_model, model_names
from clipalign.output import chosen_format, write_record
from clipalign.output.console import notices
from clipalign.runs.distributed import join_processes, launched_processes
from clipalign.training.settings import PUBLISHED, Intervals, PrepareSettings, SpecsSettings

if TYPE_CHECKING:
    from clipalign.eval_results import SpecsResult


@dataclass(frozen=True, kw_only=True)
class TrainSpecsOptions(SpecsSettings, PrepareSettings, Intervals, RunSettings, MachineSettings):
    panel = "Data"

    data: Annotated[
        str | None,
        Setting(
            "Training samples: a folder that --prepare wrote, or generated scenes.",
            value="DIR|pictogram[:N]",
            file=False,
        ),
    ] = None
    prepare: Annotated[
        str | None,
        Setting(
            "First make training samples in --data from raw captions: what detect reads with --input, "
            "ShareGPT4V's JSON, a folder of DCI.",
            value="FILE|DIR",
            file=False,
        ),
    ] = None
    columns: Annotated[Mapping[str, str] | None, SameAs(RecordSettings)] = None
    image_root: Annotated[Path | None, SameAs(RecordSettings)] = None
    held_out: Annotated[int, Setting("Samples for validation, never trained on.", whole(0), value="N")] = 300
    init: Annotated[
        str,
        Setting(
            "Model to start from, as for --model of the others; fewer than 248 tokens are stretched.",
            short="-m --model",
            value="NAME[@WEIGHTS]",
            choices=model_names,
            beside_file=True,
            panel="Model",
        ),
    ] = "specs-base"
    precision: Annotated[
        str, Setting("Precision of the arithmetic; auto is fp32.", choices=("auto", "fp32", "bf16", "fp16"))
    ] = "auto"
    output: Annotated[
        Path | None,
        Setting(
            "Folder of weights, checkpoints and metrics; one that holds them already needs --resume or --overwrite.",
            short="-o",
            value="DIR",
            panel="Output",
            file=False,
        ),
    ] = None


WARMUPS: Final = 10
"""A run with scaled defaults has so many times the steps of its warm-up."""

_RUN_FILES: Final = ("config.json", "best.safetensors", "last.safetensors", "pictures.safetensors", "metrics.jsonl")
_RUN_FOLDERS: Final = ("checkpoints", "tensorboard")


@expand_options("train-specs")
def train_specs(*, settings: TrainSpecsOptions) -> int:
    """Train a CLIP whose score rises with each true detail of a long caption and falls with a wrong one.

    Objective and defaults are those of SPECS (arXiv 2509.03897), or of Long-CLIP (arXiv 2403.15378) with --objective
    longclip. Weights are safetensors that --model takes; a run that was stopped goes on with --resume and draws the
    same loss curve. Several GPUs: torchrun --nproc-per-node N -m clipalign train-specs …

    Examples:
      clipalign train-specs --data pictogram --init pictogram --output runs/1
      clipalign train-specs --prepare share.json --image-root images --data specs
      clipalign train-specs --data specs --init ViT-B-32 --output runs/2
      clipalign train-specs --data specs --init ViT-B-32 --output runs/2 --resume
    """
    _check(settings)
    prepared = _prepared(settings) if settings.prepare is not None else None
    trained = _trained(settings) if settings.output is not None else None
    if launched_processes().is_first:
        from clipalign.output.training import training_record, training_table

        record, table = training_record(prepared, trained), training_table(prepared, trained)
        write_record(record, table, format=chosen_format(settings))
    return EXIT_DONE


def _check(settings: TrainSpecsOptions) -> None:
    if settings.data is None:
        hint = "a prepared folder, or pictogram for generated scenes"
        raise UsageError(
            "missing --data", hint="the folder that --prepare writes" if settings.prepare else hint, input="--data"
        )
    if settings.prepare is None and settings.output is None:
        raise UsageError("missing --output", hint="the folder of the run", input="--output")
    if settings.prepare is None:
        names = ("image_root", "columns", *(field.name for field in fields(PrepareSettings) if field.name != "seed"))
        refuse(settings, names, "{} is for --prepare", hint="samples are used as they were prepared")
    if settings.objective != "specs":
        weights = ("lambda_contrastive", "lambda_detail", "lambda_negative", "lambda_short")
        names = (*weights, "hinge_margin", "draws", "gather")
        refuse(settings, names, "{} is for --objective specs", hint="longclip has two terms of equal weight")
    if settings.prepare is not None and launched_processes().size > 1:
        raise UsageError("--prepare is not for torchrun", hint="run it once, with --workers N", input="--prepare")
    if settings.output is not None:
        _check_folder(settings.output, settings)


def _check_folder(folder: Path, settings: TrainSpecsOptions) -> None:
    with writing(folder, inside=True):
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file", hint="name a folder", input="--output")
        begun = any((folder / name).exists() for name in (*_RUN_FILES, *_RUN_FOLDERS))
    if begun and not settings.resume and not settings.overwrite:
        raise UsageError(
            f"{folder} holds a run already", hint="--resume goes on with it, --overwrite replaces it", input="--output"
        )


def _prepared(settings: TrainSpecsOptions) -> Any:
    from clipalign.training.prepare import prepare
    from clipalign.training.raw import open_source

    assert settings.prepare is not None and settings.data is not None
    source = open_source(settings.prepare, settings.columns, offline=settings.offline)
    done = 0

    def on_progress(records: int) -> None:
        nonlocal done
        done += records
        notices.inform(f"{done} raw captions cut")

    folder = Path(settings.data).expanduser()
    try:
        prepared = prepare(
            source,
            folder,
            settings,
            image_root=settings.image_root,
            workers=settings.workers,
            on_progress=on_progress,
        )
        if prepared.finished_before:
            notices.tell(f"{folder} was prepared before, with these settings; nothing is done again")
        return prepared
    except OSError as error:
        kept = "run the same line again: it goes on from there" if error.errno in DISK_FULL else ""
        raise write_failed(str(folder), error, kept=kept, hint="give another --data") from error


def _trained(settings: TrainSpecsOptions) -> SpecsResult:
    """Check from cheap to costly: names, whether the weights exist, then the data, before loading them."""
    folder, name = settings.output, settings.data
    assert folder is not None and name is not None
    row = find_model(settings.init)
    chosen = choose_model(row, replace(settings, precision="auto"), option="--init")  # weights stay fp32

    from clipalign.output.training import TrainingDisplay
    from clipalign.training.checkpoints import check_settings, last_checkpoint, settings_of
    from clipalign.training.data import PreparedData, open_data
    from clipalign.training.loop import SpecsRun
    from clipalign.training.model import make_trainable

    data = open_data(name, held_out=settings.held_out)
    said = "held_out" in settings.typed and launched_processes().is_first
    if said and isinstance(data, PreparedData) and data.held < settings.held_out:
        notices.warn(f"only {data.held} samples are held out: {name} is small, and at most a tenth of it may be")
    arithmetic = choose_device(settings.device, settings.precision, settings.threads)
    if settings.precision not in ("auto", arithmetic.precision):
        notices.warn(arithmetic.reason)
    recipe = _fitted(replace(settings, precision=arithmetic.precision), len(data))
    with writing(folder, inside=True):
        found = last_checkpoint(folder) if settings.resume else None
    if found is not None and (begun := settings_of(found)):
        asked = recipe.identity()
        check_settings({name: begun.get(name) for name in asked}, asked, folder)
    trainee = make_trainable(chosen.load(), frozen=recipe.freeze, recompute=recipe.recompute)
    for note in trainee.loaded.notes:
        notices.inform(note)
    with join_processes(trainee.loaded.choice.device) as processes, _asked_to_stop() as stop:
        if processes.is_first:
            with writing(folder, inside=True):
                folder.mkdir(parents=True, exist_ok=True)
                if settings.overwrite:
                    _clear(folder)
        processes.wait()
        with ExitStack() as held, TrainingDisplay(shown=processes.is_first) as display:
            if processes.is_first:
                with writing(folder, inside=True):
                    held.enter_context(exclusive(folder / ".lock", remove=True))
            run = SpecsRun(
                folder, trainee, data, recipe, settings, processes=processes, listener=display, stop=stop,
                resume=settings.resume,
            )  # fmt: skip
            if processes.is_first:
                _say_size(len(data), run.steps, recipe)
            try:
                result = run.train()
            except KeyboardInterrupt:
                kept = last_checkpoint(folder)  # the step that was at work is not in it
                notices.kept = f"{kept} is saved; go on with --resume" if kept else "nothing is saved yet"
                raise
    return result


def _fitted(recipe: TrainSpecsOptions, samples: int) -> TrainSpecsOptions:
    """``recipe`` with smaller defaults where the published ones leave small data few steps beyond the warm-up.

    What was given stays. The same data give the same, so that a run can be resumed.
    """
    from clipalign.training.data import Order

    published = PUBLISHED[recipe.objective]
    free = {name for name in ("accumulate", "warmup_steps") if name not in recipe.typed}
    free = {name for name in free if getattr(recipe, name) == published[name]}
    fitted = {name: getattr(recipe, name) for name in ("accumulate", "warmup_steps")}

    def steps() -> int:
        order = Order(samples, recipe.batch_size, fitted["accumulate"], launched_processes().size, recipe.seed)
        return int(recipe.epochs * order.steps_an_epoch)

    while "accumulate" in free and fitted["accumulate"] > 1 and steps() < WARMUPS * fitted["warmup_steps"]:
        fitted["accumulate"] //= 2
    if "warmup_steps" in free:
        fitted["warmup_steps"] = min(fitted["warmup_steps"], steps() // WARMUPS)
    if smaller := {name: value for name, value in fitted.items() if value != getattr(recipe, name)}:
        said = " ".join(f"{flag_name(name)} {value}" for name, value in smaller.items())
        instead = " and ".join(f"{published[name]}" for name in smaller)
        notices.warn(f"{samples:,} samples are few: {said} instead of the published {instead}, unless given")
    return replace(recipe, **smaller)


def _say_size(samples: int, steps: int, recipe: TrainSpecsOptions) -> None:
    notices.tell(f"{samples:,} samples make {steps:,} steps (--epochs {recipe.epochs})")
    if steps <= recipe.warmup_steps:
        hint = "give fewer --warmup-steps, a smaller --batch-size or --accumulate, or more --epochs"
        notices.warn(f"{samples:,} samples make {steps:,} steps, no more than the warm-up has; {hint}")


def _clear(folder: Path) -> None:
    """Delete an earlier run's own files only."""
    for name in _RUN_FILES:
        (folder / name).unlink(missing_ok=True)
    for name in _RUN_FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Return whether Ctrl-C or SIGTERM came: the step is finished and saved first. A second Ctrl-C ends at once."""
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
