"""Options of ``eval``.

``clipalign eval``: one model, one benchmark; its metrics to stdout, progress to stderr.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypedDict, Unpack

from clipalign.commands import eval_modes as more
from clipalign.commands.classify import ClassOptions, DataRoot
from clipalign.commands.common import choose_model
from clipalign.commands.detect import WordOptions
from clipalign.commands.options import (
    OUTPUT_PANEL,
    SCORING_PANEL,
    AgainOptions,
    DocumentFormat,
    EverywhereOptions,
    ModelOptions,
    OnError,
    one_by_one,
    option,
    settle,
)
from clipalign.config.choices import PROTOCOLS, REPORTS, SWEPT
from clipalign.config.values import Settings
from clipalign.errors import DISK_FULL, EXIT_DONE, EXIT_INPUTS, UsageError, unwritable
from clipalign.evaluation.registry import benchmark_names, find_benchmark
from clipalign.models.registry import find_model
from clipalign.output import chosen_format, render
from clipalign.output.console import notices
from clipalign.output.progress import Progress
from clipalign.runs.distributed import launched_processes, with_own_device

SAMPLES = ("sample", "samples")


class _BenchmarkOptions(TypedDict, total=False):
    dataset: Annotated[
        str | None,
        option(
            "--dataset",
            value="NAME",
            help=f"The benchmark: {', '.join(benchmark_names())}.",
            panel=SCORING_PANEL,
            choices=benchmark_names,
        ),
    ]
    limit: Annotated[
        str | None,
        option("--limit", value="N", help="Only the first N samples.", default="all", panel=SCORING_PANEL),
    ]
    data_root: DataRoot
    protocol: Annotated[
        str | None,
        option(
            "--protocol",
            value="|".join(PROTOCOLS),
            help="Pictures as they lie in the file, as in the papers, or turned the way EXIF says.",
            default="paper",
            panel=SCORING_PANEL,
            choices=PROTOCOLS,
        ),
    ]
    stretch: Annotated[
        bool | None,
        option(
            "--stretch/--no-stretch",
            help="Of benchmarks of long captions: stretch the positions of a model of fewer than 248 tokens.",
            default="no",
            panel=SCORING_PANEL,
        ),
    ]
    sweep: Annotated[
        list[str] | None,
        option(
            "--sweep",
            value="NAME=V,V",
            help="Go through all values of model, layers, epsilon, mode, alignment or template; pictures are encoded "
            "once a model. May be repeated.",
            panel=SCORING_PANEL,
            choices=tuple(f"{name}=" for name in SWEPT),
        ),
    ]
    calibrate: Annotated[
        bool | None,
        option(
            "--calibrate/--no-calibrate",
            help="Find the layers and the epsilon that suit the model on this data set.",
            default="no",
            panel=SCORING_PANEL,
        ),
    ]


class _WrittenOptions(TypedDict, total=False):
    output: Annotated[
        str | None,
        option(
            "--output",
            "-o",
            value="DIR",
            help="Also write samples.jsonl and result.json there; a folder that holds them already is refused without "
            "--resume or --overwrite.",
            panel=OUTPUT_PANEL,
        ),
    ]
    report: Annotated[
        str | None,
        option(
            "--report",
            value="|".join(REPORTS),
            help="Also write report.html into --output: numbers and, of benchmarks of words, distributions and the "
            "best and worst samples with pictures.",
            panel=OUTPUT_PANEL,
            choices=REPORTS,
        ),
    ]
    compare: Annotated[
        tuple[str, str] | None,
        option(
            "--compare",
            value="A B",
            help="Compare two finished runs, each a result.json or the --output of a run, with a paired test.",
            panel=OUTPUT_PANEL,
        ),
    ]
    save: Annotated[
        str | None,
        option(
            "--save",
            value="FILE",
            help="With --calibrate: put what was found into this clipalign.toml, for detect.",
            panel=OUTPUT_PANEL,
        ),
    ]
    format: DocumentFormat


class _SkippedOptions(TypedDict, total=False):
    on_error: OnError


class EvalOptions(
    _BenchmarkOptions,
    WordOptions,
    ClassOptions,
    _WrittenOptions,
    AgainOptions,
    _SkippedOptions,
    ModelOptions,
    EverywhereOptions,
    total=False,
):
    """Of ``eval``, in the order of its help."""


@one_by_one
def evaluate(
    **typed: Unpack[EvalOptions],
) -> int:
    """Measure a model on a benchmark, with 95% bootstrap intervals and what a guess would reach.

    Shares run from 0 to 1, higher is better. LA: false captions whose false word was found; AP: average precision of
    a score at telling true captions from false ones; top1, top5: pictures whose class came first, or among five.
    Published numbers stand beside ours for reading.

    Examples:
      clipalign eval --dataset pictogram-foil --model pictogram
      clipalign eval --dataset pictogram-foil --model pictogram --limit 500
      clipalign eval --dataset hat --output runs/1 --resume
      clipalign eval --compare runs/1 runs/2
      clipalign eval --dataset hat --sweep layers=1,3 --sweep epsilon=-1e-5,-5e-5
      clipalign eval --dataset hat --calibrate --save clipalign.toml
      clipalign eval --dataset cifar10 --method clip-e --data-root cifar/
    """
    settings = settle("eval", typed)
    if settings.compare is not None:
        more.check_compared(typed)
        return more.compare(settings)
    with _writing(settings.output):
        return _run(settings, [name for name, value in typed.items() if value is not None])


def _run(settings: Settings, typed: Sequence[str]) -> int:
    if settings.dataset is None:
        raise UsageError("missing --dataset", hint=f"one of {', '.join(benchmark_names())}", input="--dataset")
    if settings.resume and settings.overwrite:
        raise UsageError("--resume and --overwrite exclude each other", hint="take one of them", input="--resume")
    more.check_together(settings)
    axes = more.check_axes(settings)
    from clipalign.evaluation.load_run import check_free

    row = find_model(settings.model)  # before the benchmark, whose libraries a mistyped name need not wait for
    benchmark = find_benchmark(settings.dataset, data_root=settings.data_root, cache_dir=settings.cache_dir)
    more.check_options(benchmark, typed)
    more.check_swept(benchmark, axes)
    if settings.output is not None and not axes:  # a sweep has a folder a run in it
        check_free(settings.output, resume=settings.resume, overwrite=settings.overwrite)
    benchmark.check()
    settings = with_own_device(settings)
    total = settings.limit or benchmark.size
    if axes or settings.calibrate:
        with Progress(SAMPLES, shown=launched_processes().is_first) as progress:
            if axes:
                return more.sweep(benchmark, settings, axes, progress.advance)
            return more.calibrate(benchmark, settings, progress.advance)
    loaded = choose_model(row, settings).load()

    from clipalign.evaluation.evaluate import run_benchmark

    with Progress(SAMPLES, total=total, shown=launched_processes().is_first) as progress:
        result = run_benchmark(benchmark, loaded, settings, progress=progress.advance)
    if result is None:  # one of several processes; the first speaks for all
        return EXIT_DONE
    if settings.report is not None:
        more.report(benchmark, settings)
    render(result, format=chosen_format(settings))
    lost = result.counts["unreadable"]
    if lost:
        notices.warn(f"{lost:,} of {lost + result.counts['samples']:,} samples could not be read; the result names one")
    return EXIT_INPUTS if lost else EXIT_DONE


@contextmanager
def _writing(folder: Path | None) -> Iterator[None]:
    """Failures to write to ``folder`` as a sentence; all others as they are."""
    try:
        yield
    except OSError as error:
        if folder is None or not _concerns(error, folder):
            raise
        room = "make room there and " if error.errno in DISK_FULL else ""
        raise unwritable(error)(
            f"results could not be written to {folder}: {error.strerror}",
            hint=f"{room}go on with --resume, or choose another --output",
            input=str(folder),
        ) from error


def _concerns(error: OSError, folder: Path) -> bool:
    """Whether it is about ``folder`` or a file in it; a full disk that names no file is."""
    if error.filename is None:
        return error.errno in DISK_FULL
    place = Path(str(error.filename))
    return place == folder or folder in place.parents
